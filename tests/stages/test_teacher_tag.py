"""What a teacher is asked about a row's tags, and what becomes of its reply."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from filters.tags import DOMAINS, GENERAL, TASK_TYPES
from pipeline import open_run, templates
from pipeline.package_data import PROMPTS
from pipeline.stage import Reply, Row
from pipeline.stages.teacher_tag import Config, ask, read
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

ROW: Row = {"row_id": "a", "instruction": "Name a river.", "input": None, "output": "The Po."}


def tags(text: str, **chosen: Any) -> tuple[Any, ...]:
    (found,) = read(Reply(text), ROW, Config.model_validate(chosen))
    assert isinstance(found, dict)
    return tuple(found[name] for name in ("domain", "task_type", "language"))


def test_three_lines_give_three_tags() -> None:
    found = tags("Domain: society\nTask: open_question\nLanguage: en")
    assert found == ("society", "open_question", "en")


def test_marks_and_capitals_around_them_do_not_matter() -> None:
    assert tags("Sure!\n**Domain:** Code\n- Task: SUMMARY\n3. language: ZH.") == (
        "code", "summary", "zh"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Domain: gardening\nTask: other\nLanguage: english", (None, "other", None)),
        ("I cannot say.", (None, None, None)),
        ("Domain: law\nDomain: math", ("law", None, None)),
        ("", (None, None, None)),
    ],
)
def test_what_was_not_offered_is_null_and_the_row_stays(
    text: str, wanted: tuple[str | None, ...]
) -> None:
    assert tags(text) == wanted


def test_fields_of_ones_own_are_offered_and_read() -> None:
    chosen = {"domains": ["Ponds", "Lakes"]}
    assert ask(ROW, Config.model_validate(chosen), Random(0)).values["domains"] == [
        "Ponds",
        "Lakes",
    ]
    assert tags("Domain: ponds", **chosen)[0] == "Ponds"


def test_the_prompt_has_the_texts_cut_and_all_tags() -> None:
    long = ROW | {"input": "x" * 5000}
    request = ask(long, Config(), Random(0))
    path = PROMPTS / "tag.md"
    template = templates.parse(path.read_text(encoding="utf-8"), where=str(path))
    said = template.render(request.values)
    assert "x" * 1500 in said
    assert "x" * 1501 not in said
    assert all(tag in said for tag in (*DOMAINS, GENERAL, *TASK_TYPES))


def test_a_run_asks_once_a_row_and_the_rules_leave_it_alone(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": "Domain: law\nTask: nothing"}})
    source = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"Compute {n} + {n}.", "output": str(n)} for n in range(5)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    recipe = tmp_path / "own.yaml"
    recipe.write_text("name: own\nstages: [{stage: import}, {stage: teacher-tag}, {stage: tag}]\n")
    out = tmp_path / "run"
    teacher = f"openai:test-model@{server.url}"
    run_synth(out, recipe=str(recipe), input=str(source), teacher=teacher)
    books.check(out)
    kept = open_run(out).kept("tag")
    assert set(kept.select("domain", "task_type", "language").rows()) == {("law", "math", None)}
    assert len(books.records(out)) >= 5
