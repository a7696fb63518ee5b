"""Whole tasks in one reply: which are shown, how blocks are read, what is dropped."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.seed_tasks import BUILTIN, SeedTask, TaskPool, load
from pipeline.stage import Drop, Reply
from pipeline.stages import one_call
from pipeline.stages.one_call import Config
from pipeline.stages.task_blocks import Block, parse_blocks
from pipeline.templates import load as load_template

SEEDS = load(str(BUILTIN)).tasks
CONFIG = Config()
TASK = " Add them.\n4. Input:\n2 and 3\n4. Output:\n5"
PARTS = [
    *("###", "\n", "4. Instruction:", "5. Instruction: Name it.", "\n5. Input:\n", "4. Input:"),
    *("4. Output:", "<noinput>", " Add them.", "\n\n", "**", "14. Output: x", "\x00"),
]
TASKS = st.tuples(
    st.sampled_from(["Add them.", "Do\nit."]),
    st.sampled_from(["", "# a\n### b", "1"]),
    st.sampled_from(["5", "### Head\ntext", "See 99. Output: there"]),
)


def pool(n_drafts: int = 0) -> TaskPool:
    made = TaskPool(SEEDS)
    for n in range(n_drafts):
        made.add(f"one-call-{n:06d}-00", f"Draw {n} maps.", n)
    return made


def test_three_seed_tasks_are_shown_whole_and_never_a_draft() -> None:
    by_id = {task.id: task for task in SEEDS}
    for n in range(30):
        request = one_call.ask(pool(40), 40, CONFIG, Random(n))
        assert len(set(request.shown)) == 3
        for row_id, shown in zip(request.shown, request.values["tasks"], strict=True):
            task = by_id[row_id]
            assert shown["instruction"] == task.instruction
            assert (shown["input"], shown["output"]) == task.instances[0]


def test_the_prompt_numbers_what_is_shown_and_ends_in_the_next_number() -> None:
    tasks = [SeedTask("a", "Add them.", (("2, 3", "5"),), False),
             SeedTask("b", "Name a lake.", (("", "Garda"),), False)]  # fmt: skip
    request = one_call.ask(TaskPool(tasks), 0, Config(demonstrations=2), Random(1))
    text = load_template("one-call").render(request.values)
    assert "up to number 19." in text
    assert "Input:\n<noinput>\n" in text
    assert "Output:\n5\n###" in text or "Output:\n5\n" in text
    assert text.endswith("###\n3. Instruction:")


def test_a_reply_is_one_entry_a_block() -> None:
    text = f"{TASK}\n###\n5. Instruction: Name a lake.\n5. Input:\n<noinput>\n5. Output:\nGarda\n"
    assert one_call.read(Reply(text), CONFIG) == [
        {"instruction": "Add them.", "input": "2 and 3", "output": "5"},
        {"instruction": "Name a lake.", "input": "", "output": "Garda"},
    ]


def test_a_chat_models_announcement_is_no_block() -> None:
    found = parse_blocks(f"Sure, more tasks:\n\n**4. Instruction:**{TASK}".replace(
        "4. Input:", "**4. Input:**"), first=4)  # fmt: skip
    assert [(one.instruction, one.input, one.output) for one in found] == [
        ("Add them.", "2 and 3", "5")
    ]


@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_the_last_block_of_a_cut_off_reply_is_dropped_with_what_there_is_of_it(finish: str) -> None:
    text = f"{TASK}\n###\n5. Instruction: Name a lake.\n5. Input:\n<noinput>\n5. Output:\nGa"
    first, last = one_call.read(Reply(text, finish), CONFIG)
    assert not isinstance(first, Drop)
    assert isinstance(last, Drop)
    assert (last.reason, last.detail) == ("item_cut_off", finish)
    assert last.row == {"instruction": "Name a lake.", "input": "", "output": "Ga"}


def test_a_block_that_its_separator_closes_is_whole() -> None:
    (entry,) = one_call.read(Reply(f"{TASK}\n###\n", "length"), CONFIG)
    assert entry == {"instruction": "Add them.", "input": "2 and 3", "output": "5"}


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        (" Add them.\n4. Output:\n5", "malformed_block", "block 4 holds Output"),
        (" Add them.", "malformed_block", "block 4 holds no field"),
        (" Add.\n4. Output:\n5\n4. Input:\n2", "malformed_block", "block 4 holds Output, Input"),
        ("\n4. Input:\n2\n4. Output:\n5", "empty_item", ""),
        (" Add them.\n4. Input:\n2\n4. Output:\n<noinput>", "empty_output", ""),
        (" Add them.\n4. Input:\n2\n4. Output:", "empty_output", ""),
    ],
)
def test_what_is_no_task_says_why(text: str, reason: str, detail: str) -> None:
    (found,) = one_call.read(Reply(text), CONFIG)
    assert isinstance(found, Drop)
    assert (found.reason, found.detail) == (reason, detail)


@pytest.mark.parametrize(("tasks", "beyond"), [(17, 0), (18, 1)])
def test_tasks_beyond_the_list_are_dropped(tasks: int, beyond: int) -> None:
    blocks = [
        f"{n}. Instruction: Do {n}.\n{n}. Input:\nx\n{n}. Output:\ny" for n in range(4, 4 + tasks)
    ]
    found = one_call.read(Reply("\n###\n".join(blocks)), CONFIG)
    assert len(found) == tasks
    drops = [entry.reason for entry in found if isinstance(entry, Drop)]
    assert drops == ["beyond_the_list"] * beyond


def test_alpacas_keywords_are_among_those_that_drop() -> None:
    verdicts = one_call.judge(["Recommend some music for a walk.", "Name four lakes now."], CONFIG)
    assert verdicts == [Drop("keyword", "music"), None]


@given(
    st.lists(st.sampled_from(PARTS), max_size=30).map("".join), st.sampled_from(["stop", "length"])
)
def test_any_reply_gives_named_entries(text: str, finish: str) -> None:
    entries = one_call.read(Reply(text, finish), CONFIG)
    assert entries
    for entry in entries:
        if isinstance(entry, Drop):
            assert entry.reason
        else:
            assert entry["instruction"] == entry["instruction"].strip() != ""
            assert entry["output"] == entry["output"].strip() != ""


@given(st.lists(TASKS, min_size=1))
def test_blocks_that_are_written_are_read(tasks: list[tuple[str, str, str]]) -> None:
    text = "\n###\n".join(
        f"{n}. Instruction: {a}\n{n}. Input:\n{b or '<noinput>'}\n{n}. Output:\n{c}"
        for n, (a, b, c) in enumerate(tasks, start=4)
    )
    found = parse_blocks(text.removeprefix("4. Instruction:"), first=4)
    assert [(one.instruction, one.input, one.output) for one in found] == tasks
    assert [one.is_whole for one in found] == [True] * (len(tasks) - 1) + [False]
    assert all(isinstance(one, Block) and not one.wrong for one in found)
