"""The novelty stage: rows against those before them."""

import polars as pl
import pytest

from pipeline.stages.novelty import Config, judge, reads

FRAME = pl.DataFrame(
    {
        "row_id": ["a", "b", "c", "d"],
        "instruction": [
            "Name three rivers of the north.",
            "Name three rivers of the south.",
            "Write a poem about the moon.",
            "Name three rivers of the north.",
        ],
        "input": ["", None, "", "a list of many other things to look at before one answers"],
    }
)


def test_a_row_too_much_like_a_kept_one_before_it_names_that_row() -> None:
    found = judge(FRAME, Config())
    assert found["reason"].to_list() == [None, "not_novel", None, "not_novel"]
    assert found["ref"].to_list() == [None, "a", None, "a"]
    assert found["detail"].to_list()[1].startswith("ROUGE-L 0.8")
    assert found["similarity"].to_list() == pytest.approx([None, 5 / 6, None, 1.0])


def test_a_higher_threshold_keeps_more() -> None:
    found = judge(FRAME, Config(threshold=0.9))
    assert found["reason"].to_list() == [None, None, None, "not_novel"]


def test_the_texts_that_are_compared_are_a_setting() -> None:
    config = Config(threshold=0.9, columns=("instruction", "input"))
    assert reads(config) == ("row_id", "instruction", "input")
    assert judge(FRAME, config)["reason"].to_list() == [None, None, None, None]
