"""Labels read from answers; accuracy, precision, recall and F1 against counts by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.labels import accuracy, by_label, label_of

LABELS = {"spam", "not spam", "unsure"}


@pytest.mark.parametrize(
    ("answer", "label"),
    [("Spam", "spam"), ("Not spam.", "not spam"), ("I say it is not spam, clearly", "not spam"),
     ("spam or unsure", None), ("spammer", None), ("", None), ("Unsure!", "unsure")],
)  # fmt: skip
def test_the_label_of_an_answer(answer: str, label: str | None) -> None:
    assert label_of(answer, LABELS) == label


def test_a_label_in_signs_stands_in_a_text_without_spaces() -> None:
    assert label_of("这是正面的评论", {"正面", "负面"}) == "正面"


def test_precision_recall_and_f1_by_hand() -> None:
    wanted = ["a", "a", "a", "b", "b", "c"]
    said = ["a", "b", None, "b", "b", "a"]
    assert accuracy(said, wanted) == 0.5
    a, b, c = by_label(said, wanted)
    assert (a.label, a.precision, a.recall, a.rows) == ("a", 1 / 2, 1 / 3, 3)
    assert a.f1 == pytest.approx(0.4)
    assert (b.precision, b.recall) == (2 / 3, 1.0)
    assert b.f1 == pytest.approx(0.8)
    assert (c.precision, c.recall, c.f1, c.rows) == (0.0, 0.0, 0.0, 1)


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from("abc")))


@given(ROWS.filter(bool))
def test_against_counting_one_by_one(rows: list[tuple[str | None, str]]) -> None:
    said, wanted = [one for one, _ in rows], [one for _, one in rows]
    for one in by_label(said, wanted):
        hits = misses = false = 0
        for given_label, right in rows:
            hits += given_label == one.label and right == one.label
            misses += given_label != one.label and right == one.label
            false += given_label == one.label and right != one.label
        assert one.rows == hits + misses
        assert one.f1 == pytest.approx(2 * hits / (2 * hits + misses + false))
