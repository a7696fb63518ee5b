"""Seed files: read whole, every bad line named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import seed_tasks
from pipeline.errors import InputError

GOOD = {
    "id": "a",
    "name": "any",
    "instruction": "Name a river.",
    "instances": [{"input": "", "output": "Po"}, {"input": "in Asia", "output": "Indus"}],
    "is_classification": False,
    "more": [1, 2],
}


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_the_built_in_tasks_are_read() -> None:
    found = seed_tasks.load("builtin")
    assert len(found.tasks) == 175
    assert found.content == seed_tasks.BUILTIN.read_bytes()


def test_a_task_is_read_with_all_its_instances(tmp_path: Path) -> None:
    found = seed_tasks.load(str(write(tmp_path / "a.jsonl", GOOD, "", GOOD | {"id": "b"}, "  ")))
    assert [task.id for task in found.tasks] == ["a", "b"]
    assert found.tasks[0].instances == (("", "Po"), ("in Asia", "Indus"))
    assert found.tasks[0].is_classification is False


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
def test_line_endings_and_a_mark_at_the_start_do_not_matter(tmp_path: Path, ending: str) -> None:
    text = ending.join(json.dumps(GOOD | {"id": str(n)}) for n in range(3)) + ending
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(seed_tasks.load(str(tmp_path / "a.jsonl")).tasks) == 3


def test_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    text = json.dumps(GOOD | {"instruction": "Name\u2028a\x85river."}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (task,) = seed_tasks.load(str(tmp_path / "a.jsonl")).tasks
    assert task.instruction == "Name\u2028a\x85river."


def test_every_bad_line_is_named_in_one_message(tmp_path: Path) -> None:
    lines = [GOOD, "{", GOOD | {"id": "b", "instances": []}, GOOD, "[]", GOOD | {"id": 5}]
    with pytest.raises(InputError) as caught:
        seed_tasks.load(str(write(tmp_path / "a.jsonl", *lines)))
    said = str(caught.value)
    for part in ("line 2: not JSON", "line 3: ", "line 4: the id 'a' stands on line 1",
                 "line 5: not a JSON object", "line 6: 'id' is not a str"):  # fmt: skip
        assert part in said
    assert "line 1:" not in said


@pytest.mark.parametrize(("at_least", "is_enough"), [(7, True), (8, True), (9, False)])
def test_both_sides_of_how_many_a_prompt_needs(
    tmp_path: Path, at_least: int, is_enough: bool
) -> None:
    path = write(tmp_path / "a.jsonl", *(GOOD | {"id": str(n)} for n in range(8)))
    if is_enough:
        assert len(seed_tasks.load(str(path), at_least=at_least).tasks) == 8
    else:
        with pytest.raises(InputError, match="holds 8 seed tasks, and a prompt shows 9"):
            seed_tasks.load(str(path), at_least=at_least)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_any_task_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    path = write(tmp_path_factory.mktemp("any") / "a.jsonl", GOOD | changed)
    try:
        (task,) = seed_tasks.load(str(path)).tasks
    except InputError as error:
        said = str(error)
        assert "line 1: " in said
        return
    assert task.instruction.strip()
    assert task.instances


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_by_one_message(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError):
        seed_tasks.load(str(path))
