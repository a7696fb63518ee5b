import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.quality import LEAST, _features, figures, quality, read_labelled, words_of
from filters.shingles import tokens

WORDS = ["Say", "it", "river", "河", "C++", "!", ""]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows(n: int, label: object, word: str) -> list[dict[str, object]]:
    return [
        {"instruction": f"Name river {at}.", "output": f"{word} river {at} of Asia", "label": label}
        for at in range(n)
    ]


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    pytest.importorskip("sklearn")
    return write(tmp_path / "rows.jsonl", rows(30, "good", "Surely") + rows(30, "bad", "Whatever"))


def judged(labelled: str, outputs: list[str | None], **chosen: object) -> pl.DataFrame:
    output = pl.Series(outputs, dtype=pl.String)
    same = pl.Series(["Name river 3."] * len(outputs), dtype=pl.String)
    none = pl.Series([None] * len(outputs), dtype=pl.String)
    return quality(same, none, output, labelled=labelled, **chosen)  # type: ignore[arg-type]


def test_rows_like_the_good_ones_score_higher(labelled: str) -> None:
    good, bad, unknown = judged(labelled, ["Surely a river", "Whatever a river", None])["quality"]
    assert good > 0.7 > unknown > 0.3 > bad


def test_without_a_threshold_every_row_is_kept_with_its_score(labelled: str) -> None:
    found = judged(labelled, ["Surely", "Whatever", "", None])
    assert found["reason"].null_count() == 4
    assert found["quality"].null_count() == 0
    assert judged(labelled, []).columns == ["reason", "detail", "quality"]


def test_a_row_just_on_the_threshold_stays_and_one_below_goes(labelled: str) -> None:
    score = judged(labelled, ["Whatever"])["quality"][0]
    assert judged(labelled, ["Whatever"], at_least=score)["reason"].to_list() == [None]
    dropped = judged(labelled, ["Whatever"], at_least=score + 1e-6)
    assert dropped["reason"].to_list() == ["low_quality"]
    assert dropped["detail"][0].startswith(f"{score:.4f}, below")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outputs=st.lists(st.lists(st.sampled_from(WORDS)).map(" ".join), min_size=1, max_size=6))
def test_a_row_is_scored_alone_as_among_others(labelled: str, outputs: list[str]) -> None:
    whole = judged(labelled, list(outputs))["quality"].to_list()
    assert whole == [judged(labelled, [one])["quality"][0] for one in outputs]


@given(asked=st.lists(st.sampled_from(WORDS)).map(" ".join), said=st.sampled_from(WORDS))
def test_words_and_pairs_are_those_of_the_slowest_version(asked: str, said: str) -> None:
    slow = []
    for place, text in (("asked", asked), ("said", said)):
        words = tokens(text)
        slow += [f"{place} {word}" for word in words]
        slow += [f"{place} {words[at]} {words[at + 1]}" for at in range(len(words) - 1)]
    assert list(words_of((asked, said)))[:-1] == slow


def test_features_count_words_and_have_length_one() -> None:
    pytest.importorskip("sklearn")
    found = _features([("Say it", "It"), ("", "")]).toarray()
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert (found[0] > 0).sum() == 5


def test_the_same_file_and_seed_learn_the_same(labelled: str, tmp_path: Path) -> None:
    again = write(tmp_path / "again.jsonl", rows(30, 1, "Surely") + rows(30, 0, "Whatever"))
    texts: list[str | None] = ["Surely", "Whatever", "a river of Asia"]
    assert judged(labelled, texts).equals(judged(again, texts))


def test_figures_are_of_rows_that_were_not_learned_from(labelled: str, tmp_path: Path) -> None:
    found = figures(labelled)
    assert found["cross_validated_auc"] == 1
    assert (found["labelled_good"], found["labelled_bad"]) == (30, 30)
    assert found["cross_validated_precision"] == found["cross_validated_recall"] == 1
    draw = np.random.default_rng(0)
    noise = [
        {"instruction": f"{draw.integers(10**9)}", "output": f"{draw.integers(10**9)}",
         "label": "good" if at % 2 else "bad"} for at in range(200)
    ]  # fmt: skip
    assert 0.3 < figures(write(tmp_path / "noise.jsonl", noise))["cross_validated_auc"] < 0.7
    assert figures(labelled, at_least=1)["cross_validated_recall"] == 0


@pytest.mark.parametrize(
    ("given_rows", "says"),
    [
        (rows(30, "good", "a"), "has 0 bad rows; 20 of each"),
        (rows(LEAST - 1, "good", "a") + rows(30, "bad", "b"), "has 19 good rows"),
        (rows(30, "good", "a") + rows(30, "bad", "a"), "30 rows are labelled good and bad"),
        (rows(30, "good", "a") + rows(30, "fine", "b"), "a label is good or bad, not fine"),
        ([{"instruction": "a", "output": "b"}], "has no column label"),
        ([*rows(40, "good", "a"), {"instruction": "a", "output": "b", "label": None}],
         "a label is good or bad, not null"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_learned_from_is_refused(
    given_rows: list[dict[str, object]], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        read_labelled(write(tmp_path / "rows.jsonl", given_rows))


def test_as_many_as_are_needed_are_enough_and_a_text_counts_once(tmp_path: Path) -> None:
    both = rows(LEAST, "good", "a") + rows(LEAST, "bad", "b")
    found = read_labelled(write(tmp_path / "rows.jsonl", both + both))
    assert found.labels.tolist() == [1] * LEAST + [0] * LEAST


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match=r"nope\.jsonl cannot be read"):
        read_labelled("nope.jsonl")
