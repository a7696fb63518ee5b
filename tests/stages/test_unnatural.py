"""A fourth example after three: what is shown and what is read."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.seed_tasks import BUILTIN, SeedTask, TaskPool, load
from pipeline.stage import Drop, Reply
from pipeline.stages import unnatural
from pipeline.stages.unnatural import Config
from pipeline.templates import load as load_template

SEEDS = load(str(BUILTIN)).tasks
CONFIG = Config()
TEXT = "Instruction: Name the mood.\nInput: We won!\nConstraints: The output is one word."
PARTS = [
    "Instruction:",
    "Input:",
    "Constraints:",
    "Output:",
    "None.",
    " x",
    "\n",
    "**",
    "Example 5",
]


def test_three_seed_tasks_are_shown_with_inputs_of_theirs() -> None:
    by_id = {task.id: task for task in SEEDS}
    for n in range(30):
        request = unnatural.ask(TaskPool(SEEDS), 0, CONFIG, Random(n))
        assert len(set(request.shown)) == 3
        for row_id, example in zip(request.shown, request.values["examples"], strict=True):
            task = by_id[row_id]
            assert example["instruction"] == task.instruction
            assert example["input"] in {given or "None." for given, _ in task.instances}
    assert load_template("unnatural").render(request.values).endswith("\n\nExample 4")


def test_a_classification_says_its_labels_and_other_tasks_have_no_constraints() -> None:
    labels = (("a", "yes"), ("b", "no"), ("c", "yes"))
    assert unnatural.constraints_of(SeedTask("s", "Is it?", labels, True)) == (
        "The output is one of these: no, yes."
    )
    assert unnatural.constraints_of(SeedTask("s", "Do it.", labels, False)) == "None."


def test_an_example_is_one_row() -> None:
    assert unnatural.read(Reply(TEXT), CONFIG) == [
        {
            "instruction": "Name the mood.",
            "input": "We won!",
            "output_constraints": "The output is one word.",
        }
    ]


@pytest.mark.parametrize("none", ["None.", "none", "N/A", "<noinput>", ""])
def test_none_is_empty(none: str) -> None:
    text = f"Instruction: Name a lake.\nInput: {none}\nConstraints: {none}"
    (row,) = unnatural.read(Reply(text), CONFIG)
    assert row == {"instruction": "Name a lake.", "input": "", "output_constraints": ""}


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Hm.</think>{TEXT}",
        TEXT.replace("Instruction: ", "", 1),
        "**" + TEXT.replace(": ", ":** ").replace("\n", "\n**"),
        TEXT.replace("Constraints", "Output constraints"),
        f"{TEXT}\nOutput: glad",
        f"{TEXT}\nInstruction: Another one.\nInput: x\nConstraints: y",
    ],
)
def test_ways_in_which_a_teacher_writes_it(text: str) -> None:
    assert unnatural.read(Reply(text), CONFIG) == unnatural.read(Reply(TEXT), CONFIG)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Instruction: Name a lake.\nInput: x", "constraints"),
        ("Instruction: Name a lake.\nConstraints: x", "input"),
        ("I'm sorry, but I cannot.", "input, constraints"),
        ("", "instruction, input, constraints"),
    ],
)
def test_a_missing_field_is_named(text: str, missing: str) -> None:
    (found,) = unnatural.read(Reply(text), CONFIG)
    assert isinstance(found, Drop)
    assert (found.reason, found.detail) == ("missing_field", missing)


def test_an_example_that_was_cut_off_is_dropped() -> None:
    (found,) = unnatural.read(Reply(TEXT, "length"), CONFIG)
    assert isinstance(found, Drop)
    assert (found.reason, found.row["instruction"]) == ("item_cut_off", "Name the mood.")


@given(st.lists(st.sampled_from(PARTS), max_size=20).map("".join))
def test_any_reply_gives_one_entry(text: str) -> None:
    (found,) = unnatural.read(Reply(text), CONFIG)
    if isinstance(found, Drop):
        assert found.reason == "missing_field"
        assert found.detail
    else:
        assert found["instruction"]
