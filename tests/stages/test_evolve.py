"""One row's evolution, with plain values: what is asked, what becomes a row, what is eliminated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pydantic
import pytest

from pipeline import templates
from pipeline.stage import NOT_ASKED, Drop, Reply, Request, Row
from pipeline.stages.evolution import Source, measures, read_task
from pipeline.stages.evolve import STAGE, Config, prompts, work

ROW = {
    "row_id": "import-000007-00",
    "root_id": "import-000002-00",
    "source": "mine.jsonl",
    "license": "CC-BY-NC-4.0",
    "is_classification": True,
    "instruction": "Name a fruit that grows in the north.",
    "input": "",
    "output": "An apple.",
}
Answers = Callable[[Request], Reply | Drop]


class Teacher:
    """Rewrites by adding a sentence, finds all different, answers everything; counts what came."""

    def __init__(self, **other: Answers | str) -> None:
        self.asked: list[list[str]] = []
        self._other = other

    def answer(self, request: Request) -> Reply | Drop:
        kind = "evolve" if request.template.startswith("evolve") else request.template
        found = self._other.get(request.template.replace("-", "_")) or self._other.get(kind)
        if isinstance(found, str):
            return Reply(found)
        if found is not None:
            return found(request)
        if kind == "compare":
            return Reply("Not Equal")
        if kind == "respond":
            return Reply("The answer is forty-two apples.")
        n = len(request.values["instruction"])
        return Reply(
            f"{request.values['instruction']} Add sentence {n} of nine plain words here too."
        )


def evolve(teacher: Teacher, row: Row = ROW, seed: int = 3, **settings: Any) -> list[Row | Drop]:
    """Hold the conversation and give its entries."""
    talk = work(dict(row), Config(**settings), Random(seed))
    requests: Sequence[Request] = next(talk)
    while True:
        teacher.asked.append([request.template for request in requests])
        try:
            requests = talk.send([teacher.answer(request) for request in requests])
        except StopIteration as end:
            return list(end.value)


def only(name: str) -> dict[str, Any]:
    """Settings in which one operation has a chance."""
    names = ("constraints", "deepen", "concretize", "reasoning", "complicate", "breadth")
    return {"operations": {one: {"weight": float(one == name)} for one in names}}


def kept(entries: list[Row | Drop]) -> list[Row]:
    return [entry for entry in entries if not isinstance(entry, Drop)]


def reasons(entries: list[Row | Drop]) -> list[str]:
    return [entry.reason for entry in entries if isinstance(entry, Drop)]


def test_a_round_rewrites_compares_both_orders_and_answers() -> None:
    teacher = Teacher()
    evolve(teacher, rounds=2, **only("deepen"))
    one_round = [["evolve-deepen"], ["compare", "compare"], ["respond"]]
    assert teacher.asked == one_round * 2


def test_a_deeper_child_replaces_its_parent_and_a_new_one_stands_beside_it() -> None:
    deeper = kept(evolve(Teacher(), rounds=3, **only("deepen")))
    assert [row.get("parent_id") for row in deeper] == [None, ROW["row_id"], 1, 2]
    assert [row["round"] for row in deeper] == [0, 1, 2, 3]
    broader = kept(evolve(Teacher(), rounds=3, **only("breadth")))
    assert len(broader) == 1 + 1 + 2 + 4
    assert [row.get("parent_id") for row in broader[1:]] == [
        ROW["row_id"], ROW["row_id"], 1, ROW["row_id"], 2, 1, 3,
    ]  # fmt: skip
    assert sorted(row["round"] for row in broader) == [0, 1, 2, 2, 3, 3, 3, 3]


def test_a_child_keeps_where_it_comes_from_and_nothing_that_its_parent_said() -> None:
    child = kept(evolve(Teacher(), rounds=1, **only("constraints")))[1]
    assert child["root_id"] == "import-000002-00"
    assert (child["source"], child["license"]) == ("mine.jsonl", "CC-BY-NC-4.0")
    assert child["origin"] == "teacher"
    assert child["operation"] == "constraints"
    assert child["is_classification"] is None
    assert child["output"] == "The answer is forty-two apples."


def test_every_child_of_every_round_has_the_licence_of_its_root() -> None:
    said = iter([True, False] * 40)
    other = Teacher(respond=lambda request: Reply("Plain oats." if next(said) else "It is."))
    entries = evolve(other, rounds=4)[1:]
    assert {isinstance(entry, Drop) for entry in entries} == {True, False}
    for entry in entries:
        row = entry.row if isinstance(entry, Drop) else entry
        assert (row["source"], row["license"]) == ("mine.jsonl", "CC-BY-NC-4.0")


def test_a_row_without_a_root_is_the_root_of_its_children() -> None:
    row = {**ROW, "root_id": None}
    assert kept(evolve(Teacher(), row, rounds=1))[1]["root_id"] == ROW["row_id"]


def test_starting_rows_go_on_unless_they_are_not_wanted() -> None:
    assert kept(evolve(Teacher(), rounds=1))[0] == {
        "row_id": ROW["row_id"],
        "requests": (),
        "round": 0,
    }
    without = evolve(Teacher(), rounds=1, keep_roots=False)
    assert [row["operation"] for row in kept(without)] != []
    assert "row_id" not in without[0]


def test_an_entry_names_the_rewritings_that_led_to_it_and_its_own_requests() -> None:
    entries = kept(evolve(Teacher(), rounds=2, **only("reasoning")))
    first, second = ([one.template for one in row["requests"]] for row in entries[1:])
    assert first == ["evolve-reasoning", "compare", "compare", "respond"]
    assert second == ["evolve-reasoning", *first]
    assert entries[2]["requests"][0] is entries[1]["requests"][0]


@pytest.mark.parametrize(
    ("reason", "other"),
    [
        ("no_information_gain", {"compare": "Equal"}),
        ("no_information_gain", {"compare": "I cannot say."}),
        ("refusal", {"respond": "I'm sorry, I cannot do that."}),
        ("only_stop_words", {"respond": "It is what it is."}),
        ("prompt_leak", {"evolve": "#Rewritten Prompt#: Name a fruit and a bird."}),
        ("copied_parent", {"evolve": ROW["instruction"] + " "}),
        ("too_long", {"evolve": "word " * 401}),
        ("empty_instruction", {"evolve": " \n"}),
        ("cut_off", {"evolve": lambda request: Reply("Name a fruit and", "length")}),
        ("cut_off", {"respond": lambda request: Reply("An apple and", "length")}),
        ("content_filter", {"evolve": lambda request: Drop("content_filter")}),
        ("no_text", {"compare": lambda request: Drop("no_text")}),
        ("no_text", {"respond": lambda request: Drop("no_text")}),
    ],
)
def test_an_eliminated_child_leaves_its_parent_to_the_next_round(
    reason: str, other: dict[str, Any]
) -> None:
    entries = evolve(Teacher(**other), rounds=3)
    assert reasons(entries) == [reason] * 3
    assert len(kept(entries)) == 1
    for entry in entries[1:]:
        assert isinstance(entry, Drop)
        assert entry.row["parent_id"] == ROW["row_id"]
        assert entry.row["operation"]


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ({"copied": None}, {"evolve": ROW["instruction"]}),
        ({"longest": None}, {"evolve": "word " * 401}),
        ({"drop_cut_off": False}, {"respond": lambda request: Reply("An apple and", "length")}),
    ],
)
def test_the_rules_that_the_paper_lacks_can_be_switched_off(
    setting: dict[str, Any], other: dict[str, Any]
) -> None:
    assert len(reasons(evolve(Teacher(**other), rounds=1))) == 1
    assert reasons(evolve(Teacher(**other), rounds=1, **setting)) == []


def test_one_order_that_says_equal_is_enough() -> None:
    said = iter(["Not Equal", "Equal"])
    entries = evolve(Teacher(compare=lambda request: Reply(next(said))), rounds=1)
    assert reasons(entries) == ["no_information_gain"]
    found = entries[1]
    assert isinstance(found, Drop)
    assert (found.ref, found.detail) == (ROW["row_id"], "not equal; the other way round equal")


@pytest.mark.parametrize(
    ("first", "second", "drop_cut_off", "reason"),
    [
        (("<think>Both name fruit", "length"), ("Not Equal", "stop"), True, "cut_off"),
        (("<think>Both name fruit", "length"), ("", "unknown"), True, "cut_off"),
        (("<think>Both name fruit", "length"), ("Equal", "stop"), True, "no_information_gain"),
        (("<think>Both name fruit", "length"), ("Not Equal", "stop"), False, "no_information_gain"),
        (("Perhaps.", "stop"), ("Not Equal", "stop"), True, "no_information_gain"),
        (("Not Equal: the second", "length"), ("Not Equal", "stop"), True, None),
    ],
)
def test_a_comparison_that_was_cut_off_before_its_verdict_is_called_so(
    first: tuple[str, str], second: tuple[str, str], drop_cut_off: bool, reason: str | None
) -> None:
    said = iter([first, second])
    teacher = Teacher(compare=lambda request: Reply(*next(said)))
    entries = evolve(teacher, rounds=1, drop_cut_off=drop_cut_off)
    assert reasons(entries) == ([reason] if reason else [])
    if reason == "cut_off":
        assert isinstance(entries[1], Drop)
        assert entries[1].detail == "the comparison: length"


def test_what_a_teacher_thinks_first_is_neither_an_answer_nor_a_verdict() -> None:
    thought = "<think>As an AI language model I am sorry; it is not equal.</think>\n\n"
    entries = evolve(Teacher(respond=f"{thought}An apple and a pear."), rounds=1)
    assert [row["output"] for row in kept(entries)[1:]] == ["An apple and a pear."]
    assert reasons(evolve(Teacher(compare=f"{thought}Equal"), rounds=1)) == ["no_information_gain"]


def test_both_orders_are_asked_with_the_prompts_turned_round() -> None:
    pairs = []

    def compare(request: Request) -> Reply:
        pairs.append((request.values["first"], request.values["second"]))
        return Reply("Not Equal")

    evolve(Teacher(compare=compare), rounds=1)
    assert pairs[0] == (pairs[1][1], pairs[1][0])
    assert pairs[0][0] == {"instruction": ROW["instruction"], "input": ""}


def test_after_a_reply_that_a_replay_lacks_a_branch_ends() -> None:
    entries = evolve(Teacher(respond=lambda request: Drop(NOT_ASKED)), rounds=4, **only("deepen"))
    assert reasons(entries) == [NOT_ASKED]


def test_more_rounds_begin_with_the_same_entries() -> None:
    short, long = (evolve(Teacher(), rounds=rounds) for rounds in (2, 4))
    assert [row["instruction"] for row in kept(short)[1:]] == [
        row["instruction"] for row in kept(long)[1:][: len(kept(short)) - 1]
    ]
    assert len(long) > len(short)


def test_what_becomes_of_one_branch_does_not_change_what_another_is_asked() -> None:
    def asked_of_root(other: dict[str, Any], seed: int) -> list[str]:
        found: list[str] = []

        def note(request: Request) -> Reply:
            if request.values["instruction"] == ROW["instruction"]:
                found.append(request.template)
            return Reply(f"{request.values['instruction']} And {len(found)} words to think about.")

        evolve(Teacher(evolve=note, **other), rounds=4, seed=seed)
        return found

    beside = [seed for seed in range(40) if asked_of_root({}, seed)[0] == "evolve-breadth"]
    assert len(beside) > 3
    for seed in beside:
        good, failed = (asked_of_root(other, seed) for other in ({}, {"respond": "It is."}))
        assert failed[: len(good)] == good


def test_operations_come_at_their_weights() -> None:
    operations = Config(operations={"breadth": {"weight": 5}}).operations
    source = Source("a", "")
    drawn = [source.draw(operations, 1, number) for number in range(3000)]
    assert 0.45 < drawn.count("breadth") / 3000 < 0.55
    assert 0.07 < drawn.count("deepen") / 3000 < 0.13
    never = Config(operations={"breadth": {"weight": 0}}).operations
    assert "breadth" not in {source.draw(never, 1, number) for number in range(500)}


def test_an_operation_of_ones_own_is_asked_with_its_template() -> None:
    added = {"legal": {"kind": "depth", "template": "evolve-legal", "weight": 1000}}
    teacher = Teacher()
    entries = evolve(teacher, rounds=1, operations=added)
    assert teacher.asked[0] == ["evolve-legal"]
    assert kept(entries)[1]["operation"] == "legal"
    assert "evolve-legal" in prompts(Config(operations=added))


@pytest.mark.parametrize(
    "operations",
    [
        {"legal": {"kind": "sideways", "template": "x"}},
        {"legal": {"kind": "depth", "template": "../x"}},
        {"legal": {"template": "x"}},
        {"deepen": {"weight": -1}},
        {"deepen": 3},
        {name: {"weight": 0} for name in Config().operations},
    ],
)
def test_operations_that_cannot_be_are_refused(operations: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Config(operations=operations)


def test_an_input_is_kept_replaced_or_left_out() -> None:
    parent = Source("Sum the list.", "1, 2, 3")
    assert read_task("Sum the list and say why.", parent, "depth") == (
        "Sum the list and say why.",
        "1, 2, 3",
    )
    assert read_task("Name a bird.", parent, "breadth") == ("Name a bird.", "")
    assert read_task("Sum it.\nInput: | a |\n| 1 |", parent, "depth") == ("Sum it.", "| a |\n| 1 |")
    assert read_task("Sum it.\n**Input:** 4", parent, "breadth") == ("Sum it.", "4")
    assert read_task("Input: what is it?", parent, "breadth") == ("Input: what is it?", "")
    assert read_task("<think>hm</think>Name a bird.", parent, "breadth") == ("Name a bird.", "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sure:\n#New Prompt#:\nName a bird.", "Name a bird."),
        ("New Prompt: Name a bird.", "Name a bird."),
        ("Sure, here is a harder version:\n\nName a bird.", "Name a bird."),
        ("**Here's the new task:**\nName a bird.", "Name a bird."),
        ('"Name a bird."', "Name a bird."),
        ("**Name a bird.**", "Name a bird."),
        ("Certainly:\n“Name a bird.”", "Name a bird."),
        ("Here is a list of birds:\nwren, tit", "Here is a list of birds:\nwren, tit"),
        ("Here is the rewritten prompt:\na", "Here is the rewritten prompt:\na"),
        ('"a" and "b"', '"a" and "b"'),
        ("**a** and **b**", "**a** and **b**"),
        ("Here is a new task:", "Here is a new task:"),
        ("Prompt#:", ""),
        ("Write a new prompt: it is for a play.", "Write a new prompt: it is for a play."),
        ("#Created Prompt#: Name a bird.", "#Created Prompt#: Name a bird."),
        ("#Given Prompt#: a #New Prompt#: b", "#Given Prompt#: a #New Prompt#: b"),
    ],
)
def test_what_announces_a_task_goes_and_a_forbidden_phrase_stays(text: str, wanted: str) -> None:
    assert read_task(text, Source("Name a fruit.", ""), "breadth") == (wanted, "")
    with_input = read_task(f"{text}\nInput: Prompt#: 1", Source("Name a fruit.", ""), "breadth")
    assert with_input == (wanted, "Prompt#: 1")


@pytest.mark.parametrize("text", ['"To be?"', "Here is my question:\nWhat is it?", "**Bold.**"])
def test_a_task_looks_as_its_parent_looks(text: str) -> None:
    assert read_task(text, Source(text, ""), "depth") == (text, "")


FENCED = "Write a program.\n```\nInput: 5\nOutput: 6\n```\nfor the case"


@pytest.mark.parametrize(
    "text",
    [
        FENCED,
        "Write a program.\n~~~text\nInput: 5\n```\nInput: 6\n~~~\nfor it",
        "Write a program.\n````\n```\nInput: 5\n```\nInput: 5\n````\nfor the case",
        "Write a program.\n```\nInput: 5",
        "Write a program. For example:\nInput: 5\nOutput: 6",
        "写一个程序。\n输入: 5\n输出: 6",
    ],
)
def test_an_input_that_is_part_of_an_example_stays_in_the_instruction(text: str) -> None:
    assert read_task(text, Source("Write.", "1"), "breadth") == (text, "")
    assert read_task(text, Source("Write.", "1"), "depth") == (text, "1")


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (f"{FENCED}\nInput: 7", "7"),
        ("Sum it.\nInput:\n```\nOutput: 3\nInput: 4\n```", "```\nOutput: 3\nInput: 4\n```"),
        ("Say `a`.\nInput: **bold** x", "**bold** x"),
        ("Sum it.\n## Input:\n- 1\n- 2", "- 1\n- 2"),
        ("Sum it.\nIts input:\n4", "4"),
        ("求和。\n输入: 1, 2", "1, 2"),
        ("求和。\n**输入：**1, 2", "1, 2"),
        ("Sum it.\n\nInput: 1\nInput: 2", "1\nInput: 2"),
    ],
)
def test_an_input_on_a_line_of_its_own_is_the_input(text: str, given: str) -> None:
    instruction, found = read_task(text, Source("Write.", "1"), "breadth")
    assert found == given
    assert text.startswith(instruction)


@pytest.mark.parametrize("none", ["none", "None.", "<noinput>", "N/A", "(none)", "", "无"])
def test_an_input_that_says_none_is_none(none: str) -> None:
    text = f"Name a bird.\nInput: {none}"
    assert read_task(text, Source("Sum.", "1, 2"), "breadth") == ("Name a bird.", "")
    assert read_task(text, Source("Sum.", "1, 2"), "depth") == ("Name a bird.", "1, 2")


def test_a_kept_input_does_not_make_a_child_a_copy() -> None:
    row = {**ROW, "input": "word " * 200}
    teacher = Teacher(evolve=f"{ROW['instruction']} Say also which bird would eat it, and why so.")
    assert reasons(evolve(teacher, row, rounds=1, **only("deepen"))) == []


LONG = " ".join(f"word{n}" for n in range(60))
WITH_INPUT = {**ROW, "instruction": "Summarize the text in one sentence.", "input": LONG}
NEW = "Name the tense of every verb and say which of them is rare."


@pytest.mark.parametrize("kind", ["breadth", "deepen"])
@pytest.mark.parametrize(
    ("said", "is_copy"),
    [
        (WITH_INPUT["instruction"], True),
        (f"{WITH_INPUT['instruction']}\nInput: {LONG}", True),
        (f"{WITH_INPUT['instruction']}\nInput: {LONG} end", True),
        (f"{WITH_INPUT['instruction']} {LONG}", True),
        (f"{WITH_INPUT['instruction']}\nInput: another text of some words to be told", False),
        (NEW, False),
        (f"{NEW}\nInput: {LONG}", False),
        (f"{NEW}\nInput: {LONG} end", False),
    ],
)
def test_a_parent_word_for_word_is_a_copy_whatever_became_of_its_input(
    kind: str, said: str, is_copy: bool
) -> None:
    entries = evolve(Teacher(evolve=said), WITH_INPUT, rounds=1, **only(kind))
    assert reasons(entries) == ["copied_parent"] * is_copy


@pytest.mark.parametrize("said", ["", "\nInput: one, two"])
def test_a_parent_without_an_input_is_copied_only_without_one(said: str) -> None:
    entries = evolve(Teacher(evolve=ROW["instruction"] + said), rounds=1)
    assert reasons(entries) == ([] if said else ["copied_parent"])
    assert [entry.similarity for entry in entries if isinstance(entry, Drop)] == (
        [] if said else [1]
    )


@pytest.mark.parametrize(
    ("said", "parent", "settings", "is_dropped"),
    [
        ("I'm sorry, but I can't assist with that request.", ROW, {}, True),
        ("Sorry, I cannot rewrite this prompt.", ROW, {}, True),
        ("We are truly sorry; this is not possible.", ROW, {}, True),
        ("很抱歉，我无法改写这条指令。", ROW, {}, True),
        ("I'm sorry, but I can't assist with that.", ROW, {"refusal_words": 0}, False),
        ("Write a letter that says sorry for a fruit which never came north.", ROW, {}, False),
        (
            "Sorry is the hardest word to say: name three songs about it, and their years.",
            ROW | {"instruction": "Name a song in which somebody is sorry."},
            {},
            False,
        ),
    ],
)
def test_a_refusal_to_rewrite_is_no_task(
    said: str, parent: Row, settings: dict[str, Any], is_dropped: bool
) -> None:
    teacher = Teacher(evolve=said)
    entries = evolve(teacher, parent, rounds=1, **settings)
    assert reasons(entries) == (["refusal"] if is_dropped else [])
    assert (["compare", "compare"] in teacher.asked) is not is_dropped


@pytest.mark.parametrize("kind", ["breadth", "complicate"])
def test_a_phrase_of_the_prompt_in_the_input_leaks_too(kind: str) -> None:
    leak = Teacher(evolve="Write about boats.\nInput: #Given Prompt#: the rewritten prompt is here")
    (found,) = (e for e in evolve(leak, rounds=1, **only(kind)) if isinstance(e, Drop))
    assert (found.reason, found.detail) == ("prompt_leak", "Given Prompt")


def test_a_phrase_that_stood_in_the_parents_input_before_is_no_leak() -> None:
    row = {**ROW, "input": "Mind the given prompt."}
    for said in (NEW, f"{NEW}\nInput: {row['input']}", f"{NEW}\nInput: {row['input']} And data."):
        assert reasons(evolve(Teacher(evolve=said), row, rounds=1, **only("complicate"))) == []
    twice = Teacher(evolve=f"{NEW}\nInput: {row['input']} The created prompt.")
    assert reasons(evolve(twice, row, rounds=1, **only("complicate"))) == ["prompt_leak"]


def test_chinese_rows_are_judged_by_signs() -> None:
    row = {**ROW, "instruction": "请说出一种生长在北方的水果。"}
    teacher = Teacher(evolve="请说出一种生长在北方的水果, 并说明它的颜色、味道和收获季节。")
    assert reasons(evolve(teacher, row, rounds=1)) == []
    same = Teacher(evolve="请说出一种生长在北方的水果")
    assert reasons(evolve(same, row, rounds=1)) == ["copied_parent"]
    sorry = Teacher(evolve="请说出两种生长在南方沙漠里的动物名称", respond="很抱歉, 我无法回答。")
    assert reasons(evolve(sorry, row, rounds=1)) == ["refusal"]


def test_rounds_are_measured_by_length_constraints_steps_and_domains() -> None:
    frame = pl.DataFrame(
        {
            "round": [None, 1, 1],
            "instruction": [
                "Name a fruit.",
                "Name a fruit, at most one.",
                "First cook a soup, then you must taste it and finally serve it.",
            ],
        }
    )
    assert measures(frame)["by_round"] == [
        {"round": 0, "rows": 1, "words": 3, "constraints": 0, "steps": 0, "domains_so_far": 1},
        {
            "round": 1,
            "rows": 2,
            "words": 9.5,
            "constraints": 1.0,
            "steps": 1.5,
            "domains_so_far": 2,
        },
    ]


@pytest.mark.parametrize("name", prompts(Config()))
def test_every_template_can_be_filled_with_and_without_an_input(name: str) -> None:
    template = templates.load(name, Path("nowhere"))
    for given in ("", "1, 2, 3"):
        task = {"instruction": "Sum the list.", "input": given}
        values = {"first": task, "second": task} if name == "compare" else task
        text = template.render(values)
        assert "Sum the list." in text
        assert ("1, 2, 3" in text) == bool(given)


@pytest.mark.parametrize("name", [one for one in prompts(Config()) if one.startswith("evolve")])
def test_every_template_that_rewrites_forbids_its_own_markers(name: str) -> None:
    text = " ".join(templates.load(name, Path("nowhere")).text.split())
    markers = {"evolve-breadth": ("Given", "Created")}.get(name, ("Given", "Rewritten"))
    for marker in markers:
        assert f"'#{marker} Prompt#'" in text
        assert f"'{marker.lower()} prompt'" in text
    if name != "evolve-breadth":
        assert "10 to 20 words" in text


def test_the_stage_says_what_it_writes() -> None:
    assert STAGE.makes_rows
    assert {"parent_id", "root_id", "round", "operation"} <= set(STAGE.writes)
