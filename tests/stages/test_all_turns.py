"""Conversations are compared and searched whole."""

from pathlib import Path

import polars as pl
import pytest

from pipeline.schema import arrow_schema
from pipeline.stages import decontaminate, dedup
from pipeline.stages.all_turns import with_all_turns, with_turns_told_apart
from pipeline.stages.conversations import first_exchange

ASK, ANSWER = "Explain how tides work on earth please.", "The moon pulls the water."
OPENING = (("user", ASK), ("assistant", ANSWER))
COLUMNS = ("row_id", "instruction", "input", "output", "messages")
PROMPT = "Which river flows through the old town where the clockmaker kept his geese?"


def rows(*conversations: tuple[tuple[str, str], ...]) -> pl.DataFrame:
    """Rows as an import has them."""
    made = []
    for number, turns in enumerate(conversations):
        messages = [{"role": role, "content": content} for role, content in turns]
        instruction, output = first_exchange(messages)
        row = {"row_id": f"r{number}", "instruction": instruction, "output": output}
        made.append(row | {"messages": messages if len(messages) > 2 else None})
    names = arrow_schema(COLUMNS).names
    schema = dict.fromkeys(names[:4], pl.String) | {
        "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    }
    return pl.DataFrame(made, {name: schema[name] for name in names})


def judged(frame: pl.DataFrame, tmp_path: Path, **given: object) -> list[str | None]:
    """The rows that others met, the same in parts of one row as in memory."""
    config = dedup.Config.model_validate(given)
    found = dedup.judge(frame, config)
    parts = dedup.judge_parts(lambda: frame.iter_slices(1), config, tmp_path)
    assert parts.equals(found)
    return found["ref"].to_list()


def test_conversations_that_go_on_otherwise_are_no_duplicates(tmp_path: Path) -> None:
    def then(*turns: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return (*OPENING, *turns)

    frame = rows(
        OPENING,
        then(("user", "And on Mars, where two small moons go round?"), ("assistant", "Hardly.")),
        then(("user", "Say that again in the words of a sailor"), ("assistant", "Arr, the moon!")),
        then(("user", "Say that again in the  words of a sailor"), ("assistant", "Arr, the moon!")),
        (("system", "Answer in French, and as briefly as you can."), *OPENING),
        (("system", "Answer like a pirate who fears the open sea."), *OPENING),
    )  # fmt: skip
    assert judged(frame, tmp_path) == [None, None, None, "r2", None, None]
    assert judged(frame, tmp_path, near=False) == [None, None, None, "r2", None, None]


def test_without_the_output_no_answer_of_a_conversation_is_compared(tmp_path: Path) -> None:
    ask = ("user", "Say that again, shorter.")
    frame = rows((*OPENING, ask, ("assistant", "Moon.")), (*OPENING, ask, ("assistant", "Pull.")))
    assert judged(frame, tmp_path, near=False) == [None, None]
    assert judged(frame, tmp_path, near=False, compare_output=False) == [None, "r0"]


def test_turns_in_another_order_are_another_conversation(tmp_path: Path) -> None:
    frame = rows(
        (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
        (("user", "a"), ("assistant", "b"), ("assistant", "d"), ("user", "c")),
        (("user", "a"), ("assistant", "b d"), ("user", "c")),
        (("system", "c"), ("user", "a"), ("assistant", "b")),
        (("user", "a"), ("system", "c"), ("assistant", "b")),
    )
    assert judged(frame, tmp_path, near=False) == [None] * 5


def test_near_duplicates_are_told_by_all_turns(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(60))
    frame = rows(
        (*OPENING, ("user", words), ("assistant", "Yes.")),
        (*OPENING, ("user", words + " more"), ("assistant", "Yes, so it is.")),
    )
    assert judged(frame, tmp_path) == ["r1", None]


def test_a_row_that_was_rewritten_since_is_no_longer_its_conversation() -> None:
    turns = (*OPENING, ("user", "And on Mars?"))
    frame = rows(turns).with_columns(output=pl.lit("Something else."))
    assert with_all_turns(frame).equals(frame)
    assert with_turns_told_apart(frame).equals(frame)


@pytest.mark.parametrize(("prompt", "place"), [(PROMPT, 0), (PROMPT, 1), (PROMPT, 2), ("Why?", 1)])
def test_a_benchmark_prompt_is_found_in_any_turn(prompt: str, place: int, tmp_path: Path) -> None:
    turns = {
        0: (("system", prompt), *OPENING),
        1: (*OPENING, ("user", prompt.lower()), ("assistant", "The Aare.")),
        2: (*OPENING, ("user", "Go on."), ("assistant", f"I was asked: {prompt}")),
    }
    frame = rows(OPENING, turns[place], (*OPENING, ("user", "Why not?")))
    path = tmp_path / "benchmarks.parquet"
    pl.DataFrame({"benchmark": ["geese"], "text": [prompt]}).write_parquet(path)
    config = decontaminate.Config(benchmarks=str(path))
    found = decontaminate.judge(frame, config)
    assert found["ref"].to_list() == [None, "geese:0", None]
    parts = decontaminate.judge_parts(lambda: frame.iter_slices(2), config, tmp_path)
    assert parts.equals(found)


def test_the_stages_are_given_the_turns_where_rows_have_them() -> None:
    for stage in (dedup.STAGE, decontaminate.STAGE):
        assert "messages" in stage.may_read
