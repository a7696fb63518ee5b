"""Files of templates: what holds together, what is refused, and what each built-in one makes."""

from __future__ import annotations

import time
from pathlib import Path

import jinja2
import pytest

from pipeline import format_templates
from pipeline.errors import RecipeError
from pipeline.format_templates import FormatFile, load, names_of, parse, tasks
from tests import renderings

LABELLED = ("sentiment", "topic", "nli", "paraphrase", "qa", "summary", "translation", "entities")
UNLABELLED = ("continuation", "title", "keywords", "order", "gap", "reverse")


def file(body: str, variables: str = "[label, text]") -> str:
    return f"---\nname: own\nversion: 2\nvariables: {variables}\nsource: ours\n---\n{body}"


ASK = "=== ask\nWhich?\n--- input\n{{ text }}\n--- output\n{{ label }}\n"


def test_a_file_is_taken_apart_into_its_templates() -> None:
    found = parse(
        file(ASK + "=== back: reversed\n{{ label }}!\n--- output\n{{ text }}\n"), where="x"
    )
    assert [(one.label, one.form) for one in found.templates] == [
        ("own/ask@2", "plain"),
        ("own/back@2", "reversed"),
    ]
    made = found.templates[0].render({"text": " It rains.\n", "label": "wet"})
    assert (made.instruction, made.input, made.output) == ("Which?", "It rains.", "wet")
    assert made.question == "Which?\n\nIt rains."
    assert found.templates[1].render({"text": "a", "label": "b"}).question == "b!"


def test_what_a_row_says_is_never_a_template_nor_a_mark() -> None:
    found = parse(file(ASK), where="x").templates[0]
    text = "{{ label }}\n--- output\n{% for x in y %}\n=== ask"
    assert found.render({"text": text, "label": "b"}).input == text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("Which?\n--- output\n{{ label }} {{ text }}", "a template begins"),
        ("", "a template begins"),
        ("Text before.\n" + ASK, "a template begins"),
        ("=== ask\n--- output\n{{ label }}{{ text }}", "it has an instruction"),
        ("=== ask\n{{ text }}{{ label }}", "it has an instruction"),
        (ASK + "--- output\nagain", "once each"),
        (ASK + ASK, "two templates are called own/ask@2"),
        ("=== ask: sung\nWhich?\n--- output\n{{ label }}{{ text }}", "not 'sung'"),
        ("=== ask\nWhich?\n--- output\n{{ label }}", r"use \['label'\], the header names"),
        ("=== ask\n{{ text }\n--- output\n{{ label }}", "template ask: line 1"),
        ("=== ask\n{{ text.__class__ }}\n--- output\n{{ label }}", r"may not do that: .*unsafe\.$"),
        ("=== ask\n{{ text.format.__globals__ }}\n--- output\n{{ label }}", "may not do that"),
        ("=== ask\n{{ text['__class__'] }}{{ ''.__class__.__mro__ }}\n--- output\n{{ label }}",
         "may not do that"),
        ("=== ask\n{{ text }}{{ cycler.__init__.__globals__ }}\n--- output\n{{ label }}",
         "may not do that|header names"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_hold_together_is_refused(body: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse(file(body), where="x")


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ text }}{% endfor %}{% endfor %}",
        "{{ 'a' * 9999999999 }}{{ text }}",
        "{{ 9 ** (9 ** 9) }}{{ text }}",
    ],
)
def test_a_template_that_never_ends_is_refused_before_any_row(text: str) -> None:
    began = time.monotonic()
    body = f"=== ask\n{text}\n--- output\n{{{{ label }}}}\n"
    with pytest.raises(RecipeError, match="template ask"):
        parse(file(body), where="x")
    assert time.monotonic() - began < 60


def test_a_template_that_fails_on_some_values_is_none_that_is_refused() -> None:
    body = "=== ask\n{{ text.split()[3] }}\n--- output\n{{ label }}\n"
    found = parse(file(body), where="x").templates[0]
    assert found.render({"text": "a b c d", "label": "x"}).instruction == "d"
    with pytest.raises(jinja2.UndefinedError):
        found.render({"text": "a", "label": "x"})


def test_own_files_come_before_those_of_the_package(tmp_path: Path) -> None:
    folder = tmp_path / format_templates.FOLDER
    folder.mkdir()
    (folder / "sentiment.en.md").write_text(file(ASK).replace("own", "sentiment.en"))
    (folder / "mood.md").write_text(file(ASK).replace("own", "mood"))
    assert names_of("mood", tmp_path) == ("mood",)
    assert names_of("mood") == ()
    assert load("sentiment.en", tmp_path).version == 2
    assert load("sentiment.en").version == 1
    with pytest.raises(RecipeError, match="no file of templates formats/mood"):
        load("mood")


def test_each_task_has_templates_in_both_languages_and_in_several_forms() -> None:
    assert set(tasks()) == {*LABELLED, *UNLABELLED, "steps", "demonstrations"}
    for task in LABELLED:
        for name in (f"{task}.en", f"{task}.zh"):
            forms = [one.form for one in load(name).templates]
            assert set(forms) >= {"plain", "prefix", "cloze", "reversed"}, name
            assert len(forms) >= 5, name
    for task in UNLABELLED:
        for name in (f"{task}.en", f"{task}.zh"):
            assert len(load(name).templates) >= 3, name


@pytest.mark.parametrize("found", renderings.files(), ids=lambda found: found.name)
def test_every_template_makes_what_was_read(found: FormatFile) -> None:
    golden = renderings.FOLDER / f"{found.name}.txt"
    assert renderings.rendered(found) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("found", renderings.files(), ids=lambda found: found.name)
def test_built_in_templates_are_rendered_in_this_process(found: FormatFile) -> None:
    for one in found.templates:
        for text in (one.instruction, one.input, one.output):
            assert text is None or text.compiled is not None, one.label
