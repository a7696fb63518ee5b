"""YAML as recipes use it: plain values, no aliases, no key twice, quick about bombs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import yaml_text
from pipeline.errors import RecipeError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def test_values_come_with_the_lines_that_they_stand_on() -> None:
    text = "name: a\nstages:\n  - stage: bootstrap\n    target: 5\n  - stage: export\n"
    value, lines = yaml_text.load_with_lines(text, where="x")
    assert value == {
        "name": "a",
        "stages": [{"stage": "bootstrap", "target": 5}, {"stage": "export"}],
    }
    assert lines["name",] == 1
    assert lines["stages", 0, "target"] == 4
    assert lines["stages", 1] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "x: line 3: the key 'a' stands twice"),
        ("a:\n  b: 1\n  b: 2\n", "x: line 3: the key 'b' stands twice"),
        ("a: &one 1\nb: *one\n", "x: line 2: aliases"),
        ("? [a]\n: 1\n", "x: line 1: a key is a word"),
        ("? {a: 1}\n: 1\n", "x: line 1: a key is a word"),
        ("a: !!python/object/apply:os.system [ls]\n", "x: line 1: could not determine"),
        ("a: [1,\nb: 2\n", "x: line 3"),
        ("a\n--- \nb\n", "x: line 2"),
        ("\0", "x: "),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        yaml_text.load(text, where="x")
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("depth", [31, 100, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(RecipeError, match="nested deeper than 30"):
        yaml_text.load("[" * depth, where="x")


def test_thirty_levels_are_read() -> None:
    value = yaml_text.load("[" * 29 + "1" + "]" * 29, where="x")
    for _ in range(29):
        (value,) = value
    assert value == 1


def test_a_bomb_is_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(RecipeError, match="aliases"):
        yaml_text.load(BOMB, where="x")
    with pytest.raises(RecipeError, match="more than 1000000 characters"):
        yaml_text.load("- x\n" * 300_000, where="x")
    assert time.monotonic() - began < 1


def is_read_or_refused(text: str) -> bool:
    try:
        yaml_text.load(text, where="x")
    except RecipeError as error:
        return str(error).startswith("x: ")
    return True


@given(st.text(st.sampled_from("ab1.:-?![]{}&*|>'\" \n#%~=<0x!"), max_size=40))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    assert is_read_or_refused(text)


TAGS = ["int", "float", "bool", "null", "timestamp", "binary", "omap", "pairs", "set", "map", "seq"]


@given(st.sampled_from(TAGS), st.text("-+0123456789:_.xob tTzZynN=[]{},", max_size=8))
def test_any_tagged_value_is_read_or_refused(tag: str, text: str) -> None:
    assert is_read_or_refused(f"a: !!{tag} {text}")
