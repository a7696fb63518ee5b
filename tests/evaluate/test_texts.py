"""One answer against its reference: the packages' own numbers, and cases worked by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sacrebleu", reason="the extra 'evaluate' is not installed")
pytest.importorskip("rouge_score", reason="the extra 'evaluate' is not installed")

from rouge_score import rouge_scorer
from sacrebleu.metrics.bleu import BLEU

from pipeline.evaluate.texts import (
    AgainstReference,
    bleu,
    is_continuation,
    normalised,
    repetition,
)

COMPARE = AgainstReference()
SAMPLE = ["the", "cat", "sat", "running", "quickly,", "dogs", "run.", "42", "it's"]
WORDS = st.lists(st.sampled_from(SAMPLE), max_size=12).map(" ".join)


@settings(max_examples=60)
@given(WORDS, WORDS)
def test_rouge_of_english_is_that_of_the_package_with_stemming(answer: str, wanted: str) -> None:
    published = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    expected = published.score(wanted, answer)
    found = COMPARE.measure(answer, wanted)
    assert {name: found[name] for name in expected} == {
        name: score.fmeasure for name, score in expected.items()
    }


def test_rouge_by_hand() -> None:
    found = COMPARE.measure("the cats sat", "the cat sat down")
    # the, cat and sat of 3 and 4 words: P = 1, R = 3/4; two of 2 and 3 pairs: P = 1, R = 2/3
    assert found["rouge1"] == pytest.approx(6 / 7)
    assert found["rouge2"] == pytest.approx(0.8)
    assert found["rougeL"] == pytest.approx(6 / 7)
    assert found["is_exact"] is False


def test_signs_that_the_package_deletes_are_compared() -> None:
    found = COMPARE.measure("今天天气很好", "今天天气不好")
    assert found["rouge1"] == pytest.approx(5 / 6)
    assert sum(found["bleu_counts"][4:8]) > 0


@settings(max_examples=60)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_counts_of_rows_sum_up_to_the_corpus_score(pairs: list[tuple[str, str]]) -> None:
    answers, wanted = map(list, zip(*pairs, strict=True))
    expected = BLEU().corpus_score(answers, [wanted]).score
    counts = [COMPARE.measure(*pair)["bleu_counts"] for pair in pairs]
    assert bleu(counts) == pytest.approx(expected, abs=1e-9)


def test_bleu_of_no_rows_and_of_nothing_said_is_none() -> None:
    assert bleu([]) == 0.0
    assert bleu([COMPARE.measure("", "a b c d")["bleu_counts"]]) == 0.0
    assert bleu([COMPARE.measure("a b c d", "a b c d")["bleu_counts"]]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("answer", "wanted", "is_exact"),
    [("Paris.", "paris", True), ("  The  answer: 42 ", "the answer 42", True),
     ("It is Paris", "Paris", False), ("是的。", "是的", True), ("", "!", True)],
)  # fmt: skip
def test_exact_match_leaves_case_and_punctuation_out(
    answer: str, wanted: str, is_exact: bool
) -> None:
    assert (normalised(answer) == normalised(wanted)) is is_exact


@pytest.mark.parametrize(
    ("answer", "share"),
    [("", 0.0), ("one two three", 0.0), ("one two three four", 0.0),
     ("a b c d a b c d", 0.2), ("no no no no no no", 2 / 3)],
)  # fmt: skip
def test_repetition_is_one_less_the_share_of_distinct_runs(answer: str, share: float) -> None:
    assert repetition(answer) == pytest.approx(share)


TASK = "Write one short line about the sea for my little sister"


@pytest.mark.parametrize(
    ("answer", "wanted", "is_fault"),
    [
        ("Write one short line about the sea for her.", None, True),  # its first eight words
        ("Write one short line about the waves.", None, False),
        ("The sea is wide.\n\nInstruction: write more", None, True),
        ("The sea is wide.\n### Input: none", None, True),
        ("User: what else?", "User: what else?", False),  # the reference writes so as well
        ("Write one short line about the sea for her.", TASK, False),
        ("The task: to be wide", None, False),
        ("", None, False),
    ],
)
def test_what_goes_on_with_the_task(answer: str, wanted: str | None, is_fault: bool) -> None:
    assert is_continuation(answer, [TASK], wanted) is is_fault
