"""Which rows stay by their ratings."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.stages.keep import Config, columns, judge

RATINGS = st.lists(st.none() | st.sampled_from([0, 2.5, 3, 3.5, 4, 4.5, 5.0]), max_size=30)


def reasons(ratings: list[float | None], **settings: object) -> list[str | None]:
    frame = pl.DataFrame(
        {"row_id": [str(n) for n in range(len(ratings))], "rating": ratings},
        schema={"row_id": pl.String, "rating": pl.Float64},
    )
    return judge(frame, Config.model_validate(settings))["reason"].to_list()


def slowest(ratings: list[float | None], settings: dict[str, object]) -> list[str | None]:
    """The same, row by row."""
    config = Config.model_validate(settings)
    rated = [(-rating, at) for at, rating in enumerate(ratings) if rating is not None]
    most = len(ratings)
    if config.keep_top is not None:
        most = config.keep_top
    if config.keep_share is not None:
        hundredths = int(f"{config.keep_share:.2f}".replace(".", ""))
        most = max(len(rated) * hundredths // 100, 1)
    best = {at for _, at in sorted(rated)[:most]}
    found: list[str | None] = []
    for at, rating in enumerate(ratings):
        if rating is None:
            found.append("no_rating")
        elif config.keep_at_least is not None and rating < config.keep_at_least:
            found.append("rated_low")
        else:
            found.append(None if at in best else "not_among_best")
    return found


@given(
    RATINGS,
    st.sampled_from([{}, {"keep_at_least": 4}, {"keep_top": 3}, {"keep_share": 0.5},
                     {"keep_share": 0.05}, {"keep_share": 0.29},
                     {"keep_top": 5, "keep_at_least": 4.5}, {"keep_at_least": None}]),
)  # fmt: skip
def test_it_decides_as_the_slowest_way_does(
    ratings: list[float | None], settings: dict[str, object]
) -> None:
    assert reasons(ratings, **settings) == slowest(ratings, settings)


def test_4_5_is_the_lowest_that_stays() -> None:
    assert reasons([4.5, 4.49, 5, None]) == [None, "rated_low", None, "no_rating"]


def test_the_best_stay_whatever_they_are_rated() -> None:
    assert reasons([-3, -1, -2, None], keep_top=2) == ["not_among_best", None, None, "no_rating"]
    assert reasons([-3, -1], keep_share=1) == [None, None]
    assert reasons([-3, 0], keep_top=2, keep_at_least=0) == ["rated_low", None]


def test_of_equal_ratings_the_earlier_stays() -> None:
    assert reasons([4, 5, 4, 4], keep_top=2) == [None, None, "not_among_best", "not_among_best"]


def test_a_share_keeps_at_least_one_row_and_loses_none_to_binary_numbers() -> None:
    assert reasons([4, 4.5, 5, 4, 4, 3], keep_share=0.05).count(None) == 1
    assert reasons([4.0] * 100, keep_share=0.29).count(None) == 29
    assert reasons([None, None], keep_share=0.05) == ["no_rating", "no_rating"]


def test_a_number_and_a_share_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="two ways"):
        Config.model_validate({"keep_top": 3, "keep_share": 0.5})


def by_people(said: list[str | None], **settings: object) -> list[str | None]:
    frame = pl.DataFrame(
        {"row_id": [str(n) for n in range(len(said))], "verdict": said, "rating": 4.0},
        schema_overrides={"verdict": pl.String},
    )
    return judge(frame, Config.model_validate(settings))["reason"].to_list()


def test_what_people_said_decides_and_ratings_only_where_they_are_set_too() -> None:
    said = ["good", "bad", "unsure", None]
    assert by_people(said, verdicts={}) == [None, "marked_bad", None, None]
    assert by_people(said, verdicts={"drop": ["bad", "unsure"], "keep_unmarked": False}) == [
        None, "marked_bad", "marked_unsure", "not_marked"
    ]  # fmt: skip
    low = [None, "marked_bad", None, None]
    assert by_people(said, verdicts={}, keep_at_least=4) == low
    assert by_people(said, verdicts={}, keep_at_least=4.5) == [
        "rated_low", "marked_bad", "rated_low", "rated_low"
    ]  # fmt: skip


def test_only_what_decides_is_read() -> None:
    assert columns(Config()) == ("row_id", "rating")
    assert columns(Config.model_validate({"verdicts": {}})) == ("row_id", "verdict")
    both = Config.model_validate({"verdicts": {}, "keep_top": 3})
    assert columns(both) == ("row_id", "rating", "verdict")
