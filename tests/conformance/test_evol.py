"""Elimination and clean-up of Evol-Instruct: what published notes and code decide, row by row."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from filters import information_gain, prompt_leak, refusal, stop_words
from filters.keywords import keywords
from pipeline.stages.evolution import Source, read_task

FOLDER = Path(os.environ.get("SYNTH_REFERENCE_DIR", "")) / "conformance"

REASONS = {
    "no_information_gain": "no_information_gain",
    "sorry_short": "refusal",
    "only_punct_stopwords": "only_stop_words",
    "prompt_leak": "prompt_leak",
}
"""The names of the reference, and ours."""

EXCEPTIONS = {
    "evol-008": "a reply that says neither is no verdict: both orders must say different",
}
"""Rows that another reading decides as well, and why ours is another."""

FORBIDDEN = {"h2oclean-002"}
"""A phrase that the paper forbids is a reason to drop the row (prompt_leak), not to mend it."""

OF_A_MODEL = {"h2oclean-009", "h2oclean-011", "h2oclean-012", "h2oclean-023"}
"""What a task says of an AI model is left to the rules of a recipe, `keywords` for one."""


def rows(name: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip("SYNTH_REFERENCE_DIR is not set")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def verdicts(row: dict[str, Any]) -> list[str]:
    """Our reasons for one row, in the order of the paper's rules."""
    found = []
    if (said := row["judge_reply"]) is not None:  # one reply stands for both orders
        found.append(information_gain.judge(said, said)[0])
    found.append(refusal.judge(row["response"])[0])
    found.append(stop_words.judge(row["response"])[0])
    found.append(prompt_leak.judge(row["evolved"])[0])
    return [reason for reason in found if reason is not None]


def test_the_rules_of_the_paper_decide_every_row_alike_but_the_listed_ones() -> None:
    cases = rows("evol_elimination")
    other = {}
    for row in cases:
        wanted = [REASONS[name] for name in row["paper_rules"]["all_reasons"]]
        if verdicts(row) != wanted:
            other[row["id"]] = row
    assert len(cases) == 57
    assert other.keys() == EXCEPTIONS.keys()
    for row in other.values():
        assert row["paper_ambiguity"], "an exception must be open to reading"


def test_every_reason_of_the_paper_occurs_and_some_rows_are_kept() -> None:
    found = [verdicts(row) for row in rows("evol_elimination")]
    assert {reason for reasons in found for reason in reasons} == set(REASONS.values())
    assert sum(not reasons for reasons in found) > 20


def read(row: dict[str, Any]) -> str:
    """The instruction that we read from one row."""
    instruction, given = read_task(row["raw"], Source("Name a fruit.", ""), "depth")
    assert given == ""
    return instruction


def test_a_rewriting_is_cleaned_as_published_but_for_the_listed_ones() -> None:
    cases = rows("evol_h2o_clean")
    other = {row["id"] for row in cases if read(row) != row["cleaned"]}
    assert len(cases) == 17
    assert other == FORBIDDEN | OF_A_MODEL


def test_a_marker_that_is_not_mended_is_a_phrase_that_drops_the_row() -> None:
    leaked = {row["id"] for row in rows("evol_h2o_clean") if prompt_leak.judge(read(row))[0]}
    assert leaked == FORBIDDEN
    for row in rows("evol_h2o_clean"):
        assert row["id"] in FORBIDDEN or "Prompt#:" not in read(row)


def test_what_a_task_says_of_a_model_differs_by_that_alone_and_a_rule_can_drop_it() -> None:
    words = ["AI language model", "AI assistant"]
    for row in rows("evol_h2o_clean"):
        if row["id"] in OF_A_MODEL:
            instruction = read(row)
            said, comma, rest = instruction.partition(", ")
            assert (said[:9], comma) == ("As an AI ", ", ")
            assert rest.lower() == row["cleaned"].lower()
            assert keywords(pl.Series([instruction]), words=words)["reason"][0] == "keyword"
