"""The clean stage: which rules apply, in which order, in parts as in the whole."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import RecipeError
from pipeline.run import prepare as preparing
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stages import clean
from pipeline.stages.clean import RULES, Config
from tests.run import books

GOOD = ("Name a river of Asia.", "", "The Yangtze is one.")
BAD = {
    "assistant_refusal": ("Name a river.", "", "I'm sorry, but I cannot help with that."),
    "image_only": ("Draw a river.", "", "![river](river.png)"),
    "cut_off": ("What is a river?", "", "It is water. It flows down. It ends in the"),
    "repeated_sentences": ("What is a river?", "", "It is one. It is one. It is one. It runs far."),
    "script_mismatch": ("Describe the river.", "", "河流从山里流出，穿过村庄，最后进入大海。"),
}
NONE: dict[str, object] = dict.fromkeys(RULES, False)


def frame(*rows: tuple[str, str, str]) -> pl.DataFrame:
    schema = dict.fromkeys(("instruction", "input", "output"), pl.String)
    made = pl.DataFrame(rows, schema=schema, orient="row")
    ids = pl.Series([f"r{n}" for n in range(len(rows))], dtype=pl.String)
    return made.with_columns(row_id=ids, root_id=ids)


def reasons(made: pl.DataFrame, **chosen: object) -> list[str | None]:
    return clean.judge(made, Config.model_validate(chosen))["reason"].to_list()


def test_the_rules_that_are_on_name_what_they_drop() -> None:
    assert reasons(frame(GOOD, *BAD.values())) == [None, *BAD]


def test_a_rule_can_be_left_out_and_set() -> None:
    rows = frame(*BAD.values())
    assert reasons(rows, **NONE) == [None] * len(BAD)
    assert reasons(rows, **NONE) == [None] * len(BAD)
    assert reasons(rows, leftovers=False, url_only=False)[:2] == [None, None]
    assert reasons(rows, broken={"sentences": False})[2] is None
    off = NONE | {"task_cap": {"at_most": 1, "draw": "first", "task": "instruction"}}
    assert reasons(frame(GOOD, GOOD, *BAD.values()), **off)[:2] == [None, "over_task_cap"]


def test_the_first_rule_that_meets_a_row_names_it() -> None:
    text = "I'm sorry, but I cannot help. It is water. It flows. It ends in the"
    row = frame(("Name it.", "", text.replace("help.", "help with that.")))
    assert reasons(row) == ["assistant_refusal"]
    assert reasons(row, leftovers=False) == ["cut_off"]


def test_the_cap_counts_only_rows_that_are_left() -> None:
    refused = (GOOD[0], "", BAD["assistant_refusal"][2])
    found = reasons(frame(refused, GOOD, GOOD), task_cap={"at_most": 1, "draw": "first"})
    assert found == ["assistant_refusal", None, "over_task_cap"]


def test_every_turn_of_a_conversation_is_looked_at() -> None:
    turns = [
        {"role": "user", "content": GOOD[0]},
        {"role": "assistant", "content": GOOD[2]},
        {"role": "user", "content": "Another one?"},
        {"role": "assistant", "content": "As an AI language model, I would say the Indus."},
    ]
    row = frame(GOOD).with_columns(messages=pl.Series([turns]))
    assert reasons(row) == ["assistant_disclaimer"]


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"broken": {"repeat": 3}}, "'broken' has no setting 'repeat'"),
        ({"broken": {"repeats": "3"}}, "repeats: Input should be a valid integer"),
        ({"task_cap": 2}, "true, false or its settings"),
        ({"personal_data": {"acton": "flag"}}, "no setting 'acton'; it has kinds, action"),
        ({"language": {"wanted": "en"}}, r"wanted: a list is wanted, \[en\]"),
        ({"language": {"wanted": ["en", "zh-CN", "eng"]}}, "be in 'zh-CN' or 'eng': .* are ar, "),
        ({"language": {"wanted": []}}, "no language is wanted"),
        ({"known": True}, "needs a data set"),
        ({"known": {"against": "nowhere.parquet"}}, "cannot be read"),
        ({"brokn": True}, "Extra inputs"),
        ({"cut_word": {"times": -1}}, "times: a number is wanted, 1 or more, not -1"),
        ({"cut_word": {"times": 0.5, "share": 2}}, r"not 0\.5; .* share: .* 0 to 1, not 2"),
        ({"sentence_length": {"at_least": 5, "at_most": 4.5}}, "at_least is 5, above at_most, 4"),
        ({"repetition": {"scale": 0}}, "scale: a number is wanted, more than 0, not 0"),
        ({"toxicity": {"threat": 0}}, "threat: a number is wanted, 1 or more, not 0"),
    ],
)
def test_what_is_wrong_is_refused(chosen: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate(chosen)


@pytest.mark.parametrize(
    "chosen",
    [
        {"cut_word": {"times": 1, "at_least": 1, "share": 0}},
        {"cut_word": {"share": 1}, "punctuation": {"at_most": 1, "characters_at_least": 0}},
        {"repetition": {"scale": 0.1, "lines": 0, "sentences": 1, "tokens_at_least": 0}},
        {"toxicity": {"threat": 1, "insult": None}, "task_cap": {"at_most": 1}},
        {"broken": {"repeats": 2}, "sentence_length": {"at_least": 0.0, "at_most": 0}},
    ],
)
def test_a_number_at_the_end_of_its_range_is_taken(chosen: dict[str, dict[str, Any]]) -> None:
    config = Config.model_validate(chosen)
    assert {name: getattr(config, name) for name in chosen} == chosen


PIECES = st.sampled_from([GOOD, *BAD.values(), ("写诗", "", "好"), ("", "", "")])


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(PIECES, max_size=12), size=st.integers(1, 5), cap=st.booleans())
def test_parts_are_cleaned_as_the_whole(
    rows: list[tuple[str, str, str]], size: int, cap: bool, tmp_path: Path
) -> None:
    made = frame(*rows)
    config = Config.model_validate({"task_cap": {"at_most": 1} if cap else False})
    whole = clean.judge(made, config)
    parts = [made.slice(at, size) for at in range(0, made.height, size)] or [made]
    assert clean.judge_parts(lambda: iter(parts), config, tmp_path).equals(whole)
    assert whole.height == made.height
    assert whole.columns == ["reason", "detail", "ref", "similarity"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    frame(GOOD, *BAD.values()).select("instruction", "input", "output").write_parquet(path)
    return path


def test_it_runs_alone(rows: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    execute(prepare(Options("clean", out=str(run), input=str(rows))), lambda event: None)
    state = books.stage_json(run, "clean")
    assert state["dropped_by_reason"] == dict.fromkeys(BAD, 1)


def test_a_missing_package_is_refused_with_the_line_that_installs_it(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_options = Options("clean", out=str(tmp_path / "run"), input=str(rows))
    monkeypatch.setattr(preparing, "find_spec", lambda name: None)
    prepare(given_options)  # the rule is off
    wanted = Options(
        "clean", out=str(tmp_path / "run"), input=str(rows), settings=["clean.language=true"]
    )
    with pytest.raises(RecipeError, match=r"pip install '\.\[clean\]'"):
        prepare(wanted)
    assert not (tmp_path / "run").exists()


def test_the_data_set_that_rows_are_compared_with_is_part_of_what_a_run_is(
    rows: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.parquet"
    frame(GOOD).write_parquet(other)
    given_options = Options(
        "clean",
        out=str(tmp_path / "run"),
        input=str(rows),
        settings=[f"clean.known.against={other}"],
    )
    execute(prepare(given_options), lambda event: None)
    assert books.stage_json(tmp_path / "run", "clean")["dropped_by_reason"]["known_row"] == 1
    frame(GOOD, GOOD).write_parquet(other)
    with pytest.raises(RecipeError, match=r"other\.parquet"):
        prepare(given_options)


def test_the_language_rule_takes_its_settings(rows: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given_options = Options(
        "clean",
        out=str(run),
        input=str(rows),
        settings=["clean.language={wanted: [zh]}", "clean.script_mismatch=false"],
    )
    execute(prepare(given_options), lambda event: None)
    assert books.stage_json(run, "clean")["dropped_by_reason"]["unwanted_language"] >= 1


SECRET = ("Log in.", "", "The password is k3Xv9QmT2bLw7Zpr.")
MAIL = ("Write a mail.", "", "I wrote to kim@post.de and to 415-867-5309.")


def test_secrets_are_dropped_and_personal_data_where_that_is_on() -> None:
    rows = frame(GOOD, SECRET, MAIL)
    assert reasons(rows) == [None, "secret", None]
    assert reasons(rows, personal_data=True) == [None, "secret", "email"]
    assert reasons(rows, secrets=False, personal_data={"kinds": ["phone"]}) == [None, None, "phone"]
    found = clean.judge(rows, Config.model_validate({"personal_data": True}))
    assert not any("kim" in (said or "") or "k3Xv" in (said or "") for said in found["detail"])


def test_a_flag_keeps_the_row_and_names_the_kinds() -> None:
    flags = {
        "personal_data": {"action": "flag"},
        "secrets": {"action": "flag", "kinds": ["secret"]},
    }
    config = Config.model_validate(flags)
    rows = frame(GOOD, SECRET, MAIL, BAD["cut_off"])
    found = clean.judge(rows, config)
    assert found["reason"].to_list() == [None, None, None, "cut_off"]
    assert found["personal_data"].to_list() == [[], [], ["email", "phone"], []]
    assert found["secrets"].to_list() == [[], ["secret"], [], []]
    assert clean.STAGE.writes(config) == ("personal_data", "secrets")
    assert clean.STAGE.writes(Config()) == ()
    whole = Config.model_validate(flags | {"task_cap": {"at_most": 1}})
    twice = clean.judge(frame(MAIL, MAIL, GOOD), whole)
    assert twice["personal_data"].to_list() == [["email", "phone"]] * 2 + [[]]


def test_flags_are_a_column_of_the_rows_of_a_run(tmp_path: Path) -> None:
    given = tmp_path / "rows.parquet"
    frame(GOOD, SECRET, MAIL).select("instruction", "input", "output").write_parquet(given)
    out = tmp_path / "run"
    settings = ["clean.personal_data={action: flag}"]
    execute(
        prepare(Options(recipe="clean", input=str(given), out=str(out), settings=settings)),
        lambda event: None,
    )
    books.check(out)
    rows = books.rows(out, "clean")
    assert [row["personal_data"] for row in rows] == [[], ["email", "phone"]]
    (dropped,) = books.rows(out, "clean", "dropped")
    assert (dropped["drop_reason"], dropped["drop_detail"]) == (
        "secret",
        "password or secret in output (1)",
    )


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"personal_data": {"action": "mask"}}, r"mask: \[personal_data\]"),
        ({"secrets": {"action": "hide"}}, "actions drop and flag, not 'hide'"),
        ({"secrets": {"kinds": ["keys"]}}, "no kind 'keys'; there are api_key"),
        ({"toxicity": {"insult": "many"}}, "the filter 'toxicity': insult"),
    ],
)
def test_a_wrong_action_or_kind_is_refused(chosen: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate(chosen)
