"""The filter stage: which filters, in which order, one's own among them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.stages import filter as filter_stage
from pipeline.stages.filter import Config
from tests.conftest import RunSynth
from tests.run import books

OWN = """
import polars as pl


def no_rivers(instruction, *, word="river"):
    has = instruction.str.contains(word)
    return pl.DataFrame({"reason": has}).select(
        reason=pl.when("reason").then(pl.lit("about_rivers")), detail=pl.lit(word)
    )
"""
LONG = "Name the longest river of Asia."


def frame(*rows: tuple[str, str, str]) -> pl.DataFrame:
    schema = dict.fromkeys(("instruction", "input", "output"), pl.String)
    made = pl.DataFrame(rows, schema=schema, orient="row")
    ids = [f"r{n}" for n in range(len(rows))]
    return made.with_columns(
        row_id=pl.Series(ids, dtype=pl.String), root_id=pl.Series(ids, dtype=pl.String)
    )


def reasons(made: pl.DataFrame, config: Config) -> list[str | None]:
    return filter_stage.judge(made, config)["reason"].to_list()


def test_the_first_filter_of_the_recipe_that_meets_a_row_names_it() -> None:
    row = ("Image", "", "")
    both = {"word_count": {}, "outputs": {}}
    assert reasons(frame(row), Config(filters=both)) == ["too_few_words"]
    assert reasons(frame(row), Config(filters=dict(reversed(both.items())))) == ["empty_output"]


def test_a_filter_sees_only_what_those_before_it_left() -> None:
    clash = frame(("Name the colour of it.", "sky", "blue"), ("Name the colour of it.", "sky", ""))
    clash = clash.with_columns(root_id=pl.lit("one"))
    both = {"outputs": {}, "instances": {}}
    assert reasons(clash, Config(filters=both)) == [None, "empty_output"]
    turned = dict(reversed(both.items()))
    assert reasons(clash, Config(filters=turned)) == ["conflicting_outputs"] * 2


def test_a_filter_takes_its_settings() -> None:
    rows = frame(("Name a river.", "", "Po"), (LONG, "", "Yangtze"))
    assert reasons(rows, Config(filters={"word_count": {}})) == ["too_few_words", None]
    assert reasons(rows, Config(filters={"word_count": {"at_least": 3}})) == [None, None]


def test_bounds_may_be_one_number() -> None:
    rows = frame(("Name a river.", "", "Po"), ("Name a long river.", "", "Po"))
    config = Config(filters={"word_count": {"at_least": 4, "at_most": 4}})
    assert reasons(rows, config) == ["too_few_words", None]


def test_a_row_that_was_met_is_named() -> None:
    rows = frame((LONG, "x", "a"), (LONG, "x", "a")).with_columns(root_id=pl.lit("one"))
    found = filter_stage.judge(rows, Config(filters={"instances": {}}))
    assert found.rows() == [(None,) * 4, ("repeated_instance", None, "r0", None)]


def own(tmp_path: Path, code: str = OWN) -> str:
    path = tmp_path / "mine.py"
    path.write_text(code, encoding="utf-8")
    return f"{path}:no_rivers"


def test_a_filter_of_ones_own_is_named_by_its_file(tmp_path: Path) -> None:
    rows = frame((LONG, "", "x"), ("Name the tallest hill of Asia.", "", "x"))
    name = own(tmp_path)
    assert reasons(rows, Config(filters={name: {}})) == ["about_rivers", None]
    assert reasons(rows, Config(filters={name: {"word": "hill"}})) == [None, "about_rivers"]
    assert filter_stage.reads(Config(filters={name: {}})) == ("row_id", "instruction")
    assert filter_stage.files(Config(filters={name: {}, "word_count": {}})) == (name.split(":")[0],)


def test_a_changed_filter_file_is_another_filter(
    tmp_path: Path, run_synth: RunSynth, small_run: Path
) -> None:
    setting = f"filter.filters={{'{own(tmp_path)}': {{}}}}"
    small = ("bootstrap.target=20", setting)
    run_synth(tmp_path / "run", *small)
    state = books.stage_json(tmp_path / "run", "filter")
    assert set(state["dropped_by_reason"]) <= {"about_rivers"}
    own(tmp_path, OWN.replace('word="river"', 'word="lake"'))
    with pytest.raises(Exception, match=r"filter\.file\..*mine\.py") as caught:
        run_synth(tmp_path / "run", *small)
    assert getattr(caught.value, "exit_code", None) == 2


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"word_cuont": {}}, "no filter 'word_cuont'"),
        ({"word_count": {"least": 1}}, "no setting 'least'; it has at_least, at_most"),
        ({"outputs": {"a": 1}}, "it has none"),
        ({"nowhere.py:f": {}}, "is not a file"),
        ({}, "at least 1"),
        ({"word_count": {"at_most": -1}}, "at_most: a number is wanted, 0 or more, not -1"),
        ({"word_count": {"at_least": 151}}, "at_least is 151, above at_most, 150: no row"),
        ({"word_count": {"at_least_characters": 9, "at_most_characters": 8, "at_most": 3}},
         "at_least is 4, above at_most, 3.*; .*at_least_characters is 9, above at_most_characters"),
        ({"pair_rating": {"at_least": 6}}, "at_least: a number is wanted, 1 to 5, not 6"),
        ({"toxicity_scores": {"at_most": {"threat": 1.5}}},
         "at_most: threat: a number is wanted, 0 to 1, not 1.5"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(filters: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config(filters=filters)


def test_a_function_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no function 'no_lakes'"):
        Config(filters={own(tmp_path).replace("no_rivers", "no_lakes"): {}})


TEXTS = st.sampled_from(
    ["", " ", LONG, "Name it", "draw an image of it now", "x:", "名字", "!a b c"]
)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=12))
def test_every_row_has_one_verdict_in_its_place(rows: list[tuple[str, str, str]]) -> None:
    made = frame(*rows)
    found = filter_stage.judge(made, Config())
    assert found.columns == ["reason", "detail", "ref", "similarity"]
    assert found.height == len(rows)
    alone = Config(filters={"word_count": {}, "keywords": {}, "opening": {}, "outputs": {}})
    one_by_one = [reasons(made.slice(n, 1), alone)[0] for n in range(len(rows))]
    assert reasons(made, alone) == one_by_one
