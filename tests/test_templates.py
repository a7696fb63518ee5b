"""Prompt templates: a header that agrees with the text, and values that stay values."""

from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import templates
from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS

HEADER = {"name": "a", "version": "1", "variables": "[task]", "source": "ours"}


def template(text: str = "Do {{ task }}.\n", **changed: str | None) -> str:
    header = HEADER | changed
    lines = [f"{key}: {value}" for key, value in header.items() if value is not None]
    return "---\n" + "\n".join(lines) + "\n---\n" + text


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.md")), ids=lambda path: path.stem)
def test_every_template_of_the_package_holds_together(path: Path) -> None:
    found = templates.load(path.stem)
    assert found.name == path.stem
    assert found.label == f"{path.stem}@{found.version}"
    assert len(found.sha256) == 64


def test_a_template_is_filled_in() -> None:
    found = templates.parse(template(system="Be brief."), where="x")
    assert found.render({"task": "this"}) == "Do this."
    assert (found.label, found.system, found.variables) == ("a@1", "Be brief.", ("task",))


def test_a_missing_value_is_an_error_and_never_an_empty_word() -> None:
    found = templates.parse(template(), where="x")
    with pytest.raises(jinja2.UndefinedError):
        found.render({})
    with pytest.raises(jinja2.UndefinedError):
        templates.parse(template("{{ task.nothing }}"), where="x").render({"task": "a"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("Do it.", "header between"),
        ("---\nname: a\n", "header between"),
        ("text\n" + template(), "header between"),
        (template(version=None), "the header holds"),
        (template(author="me"), "the header holds"),
        (template(variables="[task, other]"), r"uses \['task'\], the header names"),
        (template(variables="[]"), r"uses \['task'\], the header names"),
        (template("Do it."), r"uses \[\], the header names"),
        (template("Do {{ task }"), "line 1"),
        (template("\n{% if task %}"), "line 2"),
        (template("{{ task | nothing }}"), "nothing"),
        (template(name="[1"), "x: line"),
        (template(version="first"), "version"),
        (template(version="[1]"), "version"),
        (template(variables="5"), "variables"),
        (template(variables="task"), "variables"),
        (template(variables="[[task]]"), "the header names"),
        (template(variables="null"), "variables"),
        (template(system="[1, 2]"), "system"),
    ],
)
def test_what_does_not_hold_together_is_refused(content: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        templates.parse(content, where="x")
    assert str(caught.value).startswith("x: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ task.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() or task }}",
        "{{ task.append(1) }}",
        "{% for n in range(10**9) %}{{ task }}{% endfor %}",
        "{{ task.__init__.__globals__ }}",
        "{% include 'bootstrap.md' %}{{ task }}",
    ],
)
def test_a_template_cannot_reach_beyond_its_values(text: str) -> None:
    found = templates.parse(template(text), where="x")
    with pytest.raises((jinja2.TemplateError, OverflowError, TypeError)):
        found.render({"task": ["a"]})


@given(
    st.text(max_size=200)
    | st.sampled_from(["{{ 7 * 7 }}", "{% raw %}", "{# a #}", "${x}", "%s", "{0}"])
)
def test_what_a_model_wrote_is_a_value_and_never_a_template(text: str) -> None:
    found = templates.parse(template("<{{ task }}>"), where="x")
    assert found.render({"task": text}) == f"<{text}>"


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "classify.md").write_text(
        template("Mine: {{ instruction }}", name="classify", variables="[instruction]"),
        encoding="utf-8",
    )
    assert templates.load("classify", tmp_path).render({"instruction": "x"}) == "Mine: x"
    assert "numbered list" in templates.load("bootstrap", tmp_path).text
    with pytest.raises(RecipeError, match="no prompt template 'nothing'"):
        templates.load("nothing", tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classify.md").write_bytes(b"---\n\xff\xfe")
    with pytest.raises(RecipeError, match=r"classify\.md"):
        templates.load("classify", tmp_path)
