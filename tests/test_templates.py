"""Prompt templates: a header that agrees with the text, and values that stay values."""

import re
import time
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import template_apart, template_limits, templates
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


HEAVY = [
    "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}{{ task }}",
    "{% for i in range(10**5) %}{% for j in range(10**5) %}a{% endfor %}{% endfor %}{{ task }}",
    "{{ 'a' * 10**9 }}{{ task }}",
    "{{ 10**(10**10) }}{{ task }}",
    "{{ '%999999999d' % 1 }}{{ task }}",
    "{{ '{:999999999}'.format(1) }}{{ task }}",
    "{{ 'a'.ljust(10**10) }}{{ task }}",
    "{{ 'a' | center(10**10) }}{{ task }}",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}{{ task }}",
    "{{ range(10**5) | join('a' * 10**6) }}{{ task }}",
    "{{ 'a' | batch(10**9, 'b') | list }}{{ task }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
    "{{ n.s }}{{ task }}",
    "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}{{ task }}",
    "{{ lipsum(n=10**7) }}{{ task }}",
    "{% for i in range(10**5) if range(10**5) | sum < 0 %}{% endfor %}{{ task }}",
]
"""Each would take minutes, or more memory than there is; none needs a value for that."""


@pytest.mark.parametrize("text", HEAVY)
def test_a_template_that_takes_too_much_is_refused_where_it_is_read(text: str) -> None:
    began, mine = time.monotonic(), time.process_time()
    with pytest.raises((RecipeError, jinja2.TemplateError)) as caught:
        templates.parse(template(text), where="mine/a.md").render({"task": "a"})
    assert time.process_time() - mine < 0.5
    assert time.monotonic() - began < 20 * template_limits.CPU_S
    if isinstance(caught.value, RecipeError):
        assert caught.value.exit_code == 2
        assert re.match(r"mine/a\.md: the template (takes|writes) more than \d", str(caught.value))
        assert "Shorten its loops" in str(caught.value)
    else:  # Jinja2's or Python's own bound: recursion
        assert "RecursionError" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in task %}{% for b in task %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        "{% for a in task %}{% for b in task %}{{ task }}{% endfor %}{% endfor %}",
        "{% for a in task %}{% for b in task if b == 1 %}{% endfor %}{% endfor %}",
        "{% for a in task %}{% if task | upper | lower == a %}{% endif %}{% endfor %}",
        "{{ (task ~ task) * 10**5 }}",
        "{% set n = task * 1000 %}{% for a in n %}{{ n }}{% endfor %}",
    ],
)
def test_so_is_one_that_takes_too_much_of_a_value(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "CPU_S", 0.5)
    found = templates.parse(template(text), where="x")
    assert "a" in found.render({"task": "a"}) or "task }}" not in text
    began = time.process_time()
    with pytest.raises(RecipeError, match=r"x: the template (takes|writes) more than"):
        found.render({"task": "ab" * 50_000})
    assert time.process_time() - began < 2


def test_the_templates_of_the_package_are_rendered_here_and_stay_as_quick_as_they_were() -> None:
    template_apart.close()
    for path in PROMPTS.glob("*.md"):
        assert templates.load(path.stem).body.compiled is not None, path.stem
    found = templates.load("respond")
    values = dict.fromkeys(found.variables, "Name a river.")
    bare = templates.ENVIRONMENT.from_string(found.body.body)
    assert found.render(values) == bare.render(values).removesuffix("\n")
    assert template_apart._child is None, "a process was started for one of them"
    seconds: dict[str, float] = {}
    for name, render in (("ours", found.render), ("bare", bare.render)) * 5:
        began = time.process_time()
        for _ in range(500):
            render(values)
        seconds[name] = min(seconds.get(name, 1e9), time.process_time() - began)
    assert seconds["ours"] < seconds["bare"] * 2 + 0.01, seconds


PLAIN = (
    "{% for a in task %}{{ loop.index }} of {{ loop.length }}{{ a }}{% if loop.last %}.{% endif %}"
)
PLAIN += "{% else %}none{% endfor %}"
COMPUTES = (
    "{% set sum = 2 + 2 %}{{ sum }}{{ ' | '.join(task) }}{% for a in range(3) %}{{ a }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        (PLAIN, True), ("{{ task | join(', ') | upper }}", True), ("{{ task[0] or 'b' }}", True),
        ("{% for a in task if a != 'c' %}{{ a }}{% else %}none{% endfor %}", True),
        (COMPUTES, False), ("{{ task | length + 1 }}", False), ("{{ task | tojson(2) }}", False),
        ("{{ task | sort | join }}", False), ("{{ task | join('" + "-" * 101 + "') }}", False),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}{% for a in task %}{{ m(a) }}{% endfor %}", False),
    ],
)  # fmt: skip
def test_a_bounded_template_says_what_an_unbounded_one_says(text: str, is_plain: bool) -> None:
    found = templates.parse(template(text), where="x")
    assert (found.body.compiled is not None) is is_plain
    for task in (["b", "c", "\u00e9\u2028\x00"], ["c"]):
        bare = templates.ENVIRONMENT.from_string(text).render({"task": task})
        assert found.render({"task": task}) == bare


def test_a_template_that_computes_keeps_its_errors_and_has_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template_apart.close()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    found = templates.parse(template("{{ (task.nothing + 1) * 2 }}"), where="x")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        found.render({"task": {}})
    with pytest.raises(jinja2.exceptions.SecurityError):
        templates.parse(template("{{ ''.__class__.__mro__ * task }}"), where="x").render(
            {"task": 1}
        )
    assert template_apart._child is not None
    environment = Path(f"/proc/{template_apart._child.pid}/environ").read_bytes()
    assert b"canary" not in environment
    template_apart.close()
    assert found.render({"task": {"nothing": 1}}) == "4"


def test_a_template_file_without_measure_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"x: it has 26.* may have 262144"):
        templates.parse(template("{{ task }}" + "a" * 2**18), where="x")


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


def test_a_template_that_is_missing_is_to_be_put_into_a_folder_of_the_users_own(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError) as caught:
        templates.load("evolve-legal")
    said = str(caught.value)
    assert "FOLDER/evolve-legal.md, and name that with  prompts: FOLDER  in the recipe" in said
    assert str(PROMPTS) not in said
    with pytest.raises(RecipeError) as caught:
        templates.load("evolve-legal", tmp_path)
    assert str(caught.value).endswith(f"put one of your own into {tmp_path}/evolve-legal.md.")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classify.md").write_bytes(b"---\n\xff\xfe")
    with pytest.raises(RecipeError, match=r"classify\.md"):
        templates.load("classify", tmp_path)
