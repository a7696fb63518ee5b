"""Two answers, judged in both orders."""

import json
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.look import status_text
from pipeline.errors import RecipeError, SynthError
from pipeline.inspect import open_run
from pipeline.run.estimate import estimate
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.stage import NOT_ASKED, Drop, Reply, Row
from pipeline.stages.compare import Config, measures, work
from pipeline.status import stage_statuses
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

ROW: Row = {"row_id": "a", "instruction": "Add.", "input": "", "output": "x", "other_output": "y"}


def compare(*replies: Reply | Drop) -> Row | Drop:
    talk = work(ROW, Config(), Random(0))
    first, second = next(talk)
    assert (first.values["first"], first.values["second"]) == ("x", "y")
    assert (second.values["first"], second.values["second"]) == ("y", "x")
    with pytest.raises(StopIteration) as end:
        talk.send(replies)
    (entry,) = end.value.value
    return entry


@pytest.mark.parametrize(
    ("first", "second", "preferred", "is_flipped"),
    [
        ("A", "B", "output", False),
        ("B\nIt is true.", "Answer A.", "other_output", False),
        ("A", "A", "tie", True),
        ("b", "B", "tie", True),
        ("Tie", "tie", "tie", False),
        ("A", "Tie", "tie", False),
        ("<think>B?\nNo.</think>\n\nA", "A?\n</think>\nB", "output", False),
    ],
)
def test_an_answer_wins_only_in_both_orders(
    first: str, second: str, preferred: str, is_flipped: bool
) -> None:
    found = compare(Reply(first), Reply(second))
    assert found == {"preferred": preferred, "is_flipped": is_flipped}


@pytest.mark.parametrize("text", ["", "Both are fine.", "A and B", "C"])
def test_a_reply_without_a_verdict_drops_the_row(text: str) -> None:
    found = compare(Reply("A"), Reply(text))
    assert isinstance(found, Drop)
    assert found.reason == "no_verdict"


@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_a_verdict_that_was_cut_off_in_its_first_word_is_none(finish: str) -> None:
    for text in ("T", "Ti", "Answer", "", "<think>A"):
        found = compare(Reply(text, finish), Reply("A"))
        assert isinstance(found, Drop)
        assert (found.reason, found.detail) == ("cut_off", text)
    whole = {"preferred": "output", "is_flipped": False}
    assert compare(Reply("A\nIt is tr", finish), Reply("B", finish)) == whole
    found = compare(Reply("Both are fi", finish), Reply("A"))
    assert isinstance(found, Drop)
    assert found.reason == "no_verdict"


def test_a_refusal_keeps_its_name() -> None:
    found = compare(Drop("refusal"), Reply("A"))
    assert isinstance(found, Drop)
    assert found.reason == "refusal"


def test_ties_and_flips_are_counted() -> None:
    kept = pl.DataFrame(
        {"preferred": ["output", "tie", "tie", "other_output"],
         "is_flipped": [False, True, False, False], "comparisons": [None] * 4}
    )  # fmt: skip
    assert measures(kept) == {
        "share_output": 0.25, "share_other_output": 0.25, "share_tie": 0.5, "share_flipped": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "tie", "flipped"), [("A", 1.0, 1.0), ("Tie", 1.0, 0.0)])
def test_equal_answers_are_ties_and_a_judge_that_likes_the_first_place_flips(
    text: str, tie: float, flipped: float, run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": text}})
    lines = [{"prompt": f"Name river {n}.", "chosen": "The Po.", "rejected": "The Po."}
             for n in range(12)]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    run_synth(tmp_path / "run", recipe="compare", input=str(path),
              judge=f"openai:the-judge@{server.url}")  # fmt: skip
    found = books.stage_json(tmp_path / "run", "compare")
    assert found["measures"] == {
        "share_output": 0.0, "share_other_output": 0.0, "share_tie": tie, "share_flipped": flipped,
    }  # fmt: skip
    assert found["usage"][0]["requests"] == 24


SEVERAL: Row = ROW | {
    "output": None,
    "other_output": None,
    "answers": [{"source": name, "text": f"by {name}"} for name in ("p", "q", "r", "s")],
}


def talk_about(row: Row, config: Config, *replies: Reply | Drop, seed: int = 0) -> Row | Drop:
    """The entry of a row with several answers; without replies the first of a pair always wins."""
    talk = work(row, config, Random(seed))
    asked = next(talk)
    said = replies or [Reply("A" if at % 2 == 0 else "B") for at in range(len(asked))]
    with pytest.raises(StopIteration) as end:
        talk.send(said)
    (entry,) = end.value.value
    return entry


def pairs_of(found: Row | Drop) -> list[tuple[str, str]]:
    assert isinstance(found, dict)
    return [(one["first"], one["second"]) for one in found["comparisons"]]


def test_every_pair_of_several_answers_is_compared_in_both_orders() -> None:
    asked = next(work(SEVERAL, Config(), Random(0)))
    shown = [(one.values["first"][3:], one.values["second"][3:]) for one in asked]
    assert len(set(shown)) == 12
    assert all(first == shown[at + 1][::-1] for at, first in enumerate(shown) if at % 2 == 0)
    found = talk_about(SEVERAL, Config())
    assert isinstance(found, dict)
    assert (found["preferred"], found["is_flipped"]) == ("p", False)
    assert [one["preferred"] for one in found["comparisons"]] == ["p", "p", "p", "q", "q", "r"]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_more_pairs_later_keep_those_that_were_drawn(few: int, many: int, seed: int) -> None:
    few, many = sorted((few, many))
    drawn = [pairs_of(talk_about(SEVERAL, Config(pairs=n), seed=seed)) for n in (few, many)]
    assert (len(drawn[0]), len(drawn[1])) == (few, many)
    assert set(drawn[0]) <= set(drawn[1])


def test_a_pair_without_a_verdict_is_left_out_and_a_row_without_any_is_dropped() -> None:
    three = SEVERAL | {"answers": SEVERAL["answers"][:3]}
    said = [Reply(text) for text in ("A", "?", "A", "B", "A", "A")]
    found = talk_about(three, Config(), *said)
    assert isinstance(found, dict)
    assert found["comparisons"] == [
        {"first": "p", "second": "q", "preferred": None, "is_flipped": None},
        {"first": "p", "second": "r", "preferred": "p", "is_flipped": False},
        {"first": "q", "second": "r", "preferred": "tie", "is_flipped": True},
    ]
    assert (found["preferred"], found["is_flipped"]) == ("p", True)
    told = measures(pl.DataFrame([found]))
    assert (told["comparisons"], told["pairs_without_verdict"]) == (2, 1)
    dropped = talk_about(three, Config(), *[Reply("?")] * 6)
    assert isinstance(dropped, Drop)
    assert dropped.reason == "no_verdict"
    unasked = talk_about(three, Config(), *said[:5], Drop(NOT_ASKED))
    assert isinstance(unasked, Drop)
    assert unasked.reason == NOT_ASKED


def test_an_empty_answer_is_not_compared_and_equals_tie() -> None:
    row = SEVERAL | {"answers": [{"source": "p", "text": "x"}, {"source": "q", "text": ""}]}
    with pytest.raises(StopIteration) as end:
        next(work(row, Config(), Random(0)))
    assert end.value.value[0].reason == "no_output"
    found = talk_about(SEVERAL, Config(), *[Reply("Tie")] * 12)
    assert isinstance(found, dict)
    assert (found["preferred"], found["is_flipped"]) == ("tie", False)


def test_two_answers_by_name_have_shares_and_more_have_a_leaderboard() -> None:
    pytest.importorskip("choix", reason="needs the extra 'elo'")
    two = talk_about(SEVERAL | {"answers": SEVERAL["answers"][:2]}, Config())
    assert measures(pl.DataFrame([two])) == {
        "share_p": 1.0, "share_q": 0.0, "share_tie": 0.0, "share_flipped": 0.0,
    }  # fmt: skip
    told = measures(pl.DataFrame([talk_about(SEVERAL, Config())] * 5))
    assert list(told["leaderboard"]) == ["p", "q", "r", "s"]
    assert told["leaderboard"]["q"] | {"rating": 0} == {
        "rating": 0, "comparisons": 15, "won": 10, "tied": 0, "lost": 5,
    }  # fmt: skip
    assert {key: told[key] for key in told if key != "leaderboard"} == {
        "share_tie": 0.0, "share_flipped": 0.0, "comparisons": 30,
    }  # fmt: skip


MODELS = ("strong", "fair", "weak", "also_weak")


@pytest.fixture
def answers(tmp_path: Path) -> dict[str, Any]:
    """Twelve prompts with the answers of four models, one of which did not answer once."""
    lines = [
        {"prompt": f"Name river {n}."} | {name: f"It is {name} {n}." for name in MODELS}
        for n in range(12)
    ]
    del lines[3]["weak"]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return {"recipe": "compare", "input": str(path)}


NAMED = f"import.answers=[{', '.join(MODELS)}]"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_four_models_get_a_leaderboard_in_manifest_and_status(
    form: str, run_synth: RunSynth, server: Server, answers: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("choix", reason="needs the extra 'elo'")
    if form == "parquet":
        answers["input"] = str(tmp_path / "answers.parquet")
        pl.read_ndjson(tmp_path / "answers.jsonl").write_parquet(answers["input"])
    better = [("strong", "fair|weak|also_weak"), ("fair", "weak|also_weak")]
    server.set_plan({
        "content": {"mode": "fixed", "text": "Tie"},
        "rules": [
            {"fault": "same_reply", "text": letter, "match": {
                "prompt": rf"Answer {letter}:\nIt is {one} [\s\S]*Answer {other}:\nIt is ({rest}) "
                if letter == "A"
                else rf"Answer {other}:\nIt is ({rest}) [\s\S]*Answer {letter}:\nIt is {one} "
            }}
            for one, rest in better
            for letter, other in (("A", "B"), ("B", "A"))
        ],
    })  # fmt: skip
    out, judge = tmp_path / "run", f"openai:the-judge@{server.url}"
    plan = estimate(prepare(Options(out=str(out), settings=[NAMED], judge=judge, **answers)))
    assert plan.stages[0].requests == 12 * 12 - 6
    run_synth(out, NAMED, judge=judge, **answers)
    told = books.stage_json(out, "compare")["measures"]
    assert list(told["leaderboard"]) == ["strong", "fair", "weak", "also_weak"]  # it lost one less
    board = told["leaderboard"]
    assert board["strong"] | {"rating": 0} == {
        "rating": 0, "comparisons": 35, "won": 35, "tied": 0, "lost": 0,
    }  # fmt: skip
    assert (board["weak"]["tied"], board["weak"]["comparisons"]) == (11, 33)
    assert board["also_weak"]["rating"] == pytest.approx(board["weak"]["rating"], abs=25)
    assert (told["comparisons"], told["share_flipped"]) == (69, 0.0)
    assert told["share_tie"] == round(11 / 69, 4)
    rows = books.rows(out, "compare")
    assert {row["preferred"] for row in rows} == {"strong"}
    assert [len(row["comparisons"]) for row in rows] == [6, 6, 6, 3, *[6] * 8]
    assert books.stage_json(out, "compare")["usage"][0]["requests"] == 138
    run = open_run(out)
    text = status_text(run, stage_statuses(run), None)
    assert "(35 comparisons: 35 won, 0 tied, 0 lost)" in text
    purge(out, row=rows[0]["row_id"])
    assert books.stage_json(out, "compare")["measures"]["comparisons"] == 63
    verify(out)


def test_few_pairs_can_be_raised_and_ask_only_for_the_rest(
    run_synth: RunSynth, server: Server, answers: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("choix", reason="needs the extra 'elo'")
    server.set_plan({"content": {"mode": "fixed", "text": "Tie"}})
    out = tmp_path / "run"
    for pairs, requests in ((1, 24), (2, 48)):
        run_synth(out, NAMED, f"compare.pairs={pairs}", judge=f"openai:j@{server.url}", **answers)
        assert books.stage_json(out, "compare")["usage"][0]["requests"] == requests
    assert all(len(row["comparisons"]) == 2 for row in books.rows(out, "compare"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("import.answers=[strong, nobody]", "has no field 'nobody'"),
        ("import.answers=[strong]", "at least 2"),
        ("import.answers=[strong, strong]", "stands twice"),
        ("import.answers=[strong, tie]", "no answer can be called 'tie'"),
    ],
)
def test_fields_of_answers_that_cannot_be_are_refused(
    setting: str, said: str, answers: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SynthError, match=said):
        prepare(Options(out=str(tmp_path / "run"), settings=[setting], **answers))


def test_a_leaderboard_without_its_package_is_refused_before_anybody_is_asked(
    server: Server, answers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.prepare.find_spec", lambda name: None)
    given = answers | {"judge": f"openai:j@{server.url}", "out": str(tmp_path / "run")}
    with pytest.raises(RecipeError, match=r"pip install '\.\[elo\]'"):
        prepare(Options(settings=[NAMED], **given))
    assert server.history("request") == []
