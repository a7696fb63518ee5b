"""Answering: what is asked, which sample stands, what a reference decides."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Drop, Reply, Request
from pipeline.stages import respond
from pipeline.stages.respond import Config

ROW: dict[str, Any] = {
    "row_id": "a",
    "instruction": "Add the numbers.",
    "input": "7 and 8",
    "output": "The answer is 15.",
    "reference": None,
    "output_constraints": "Give the result only.",
}
TEXTS = ["The answer is 15.", "15", "16", "It depends.\nOn what?", "", "Answer: 15", "so\nAnswer:"]


def asked(config: Config, row: dict[str, Any] = ROW) -> list[Request]:
    return list(next(respond.work(row, config, Random(0))))


def answered(
    replies: list[Reply | Drop], config: Config, row: dict[str, Any] = ROW
) -> dict[str, Any] | Drop:
    talk = respond.work(row, config, Random(0))
    next(talk)
    with pytest.raises(StopIteration) as done:
        talk.send(replies)
    (entry,) = done.value.value
    return entry  # type: ignore[no-any-return]


def kept(texts: list[str], config: Config, **row: str | None) -> dict[str, Any]:
    found = answered([Reply(text) for text in texts], config, ROW | row)
    assert not isinstance(found, Drop), found
    return found


def test_the_instruction_and_its_input_are_asked_as_often_as_samples_are_wanted() -> None:
    requests = asked(Config(samples=3))
    assert [request.template for request in requests] == ["respond"] * 3
    assert requests[0].values == {"instruction": "Add the numbers.", "input": "7 and 8"}


def test_a_null_input_is_empty() -> None:
    assert asked(Config(), ROW | {"input": None})[0].values["input"] == ""


@pytest.mark.parametrize(
    ("config", "template", "reads"),
    [
        (Config(), "respond", ()),
        (Config(steps=True), "respond-steps", ()),
        (Config(constraints=True), "respond-constraints", ("output_constraints",)),
        (Config(reference="reference"), "respond", ("reference",)),
        (Config(reference="output"), "respond", ("output",)),
    ],
)
def test_settings_say_which_template_is_asked_with_and_which_columns_are_read(
    config: Config, template: str, reads: tuple[str, ...]
) -> None:
    assert asked(config)[0].template == template
    assert respond.STAGE.prompts(config) == (template,)  # type: ignore[operator]
    assert respond.reads(config) == ("row_id", "instruction", "input", *reads)


def test_the_constraints_of_the_row_are_told() -> None:
    (request,) = asked(Config(constraints=True))
    assert request.values["constraints"] == "Give the result only."


def test_steps_with_constraints_are_refused() -> None:
    with pytest.raises(ValueError, match="choose one"):
        Config(steps=True, constraints=True)


def test_one_answer_replaces_the_output() -> None:
    assert kept(["<think>Easy.</think>It is 7 + 8.\nAnswer: 15"], Config()) == {
        "output": "It is 7 + 8.\nAnswer: 15",
        "reasoning": None,
        "final_answer": "15",
        "votes": 1,
        "agreement": 1.0,
    }


def test_steps_go_into_a_column_of_their_own() -> None:
    found = kept(["7 + 8 = 15.\n\n**Answer:** The sum is 15."], Config(steps=True))
    assert found["reasoning"] == "7 + 8 = 15."
    assert found["output"] == "The sum is 15."


def test_the_last_line_with_an_answer_counts() -> None:
    found = kept(["Answer: 14?\nNo, I forgot one.\nAnswer: 15"], Config(steps=True))
    assert found["output"] == "15"
    assert found["reasoning"] == "14?\nNo, I forgot one."


def test_an_answer_may_have_several_lines() -> None:
    found = kept(["Two things.\nAnswer:\n- a coat\n- a book"], Config(steps=True))
    assert found["output"] == "- a coat\n- a book"
    assert (found["votes"], found["agreement"], found["final_answer"]) == (0, None, None)


def test_the_first_sample_with_the_winning_answer_stands() -> None:
    found = kept(["The answer is 16.", "The answer is 15.", "15"], Config(samples=3))
    assert found["output"] == "The answer is 15."
    assert (found["votes"], found["agreement"]) == (3, 2 / 3)


def test_where_nothing_can_be_compared_the_first_whole_sample_stands() -> None:
    replies = [Reply("A walk\nby the", "length"), Reply("A walk\nby the sea"), Reply("Rest.\nEat.")]
    found = answered(replies, Config(samples=3))
    assert not isinstance(found, Drop)
    assert (found["output"], found["votes"]) == ("A walk\nby the sea", 0)


@pytest.mark.parametrize("finish", ["length", "unknown", "content_filter"])
def test_an_answer_that_was_cut_off_is_none(finish: str) -> None:
    found = answered([Reply("The answer is 1", finish)], Config())
    assert found == Drop("answer_cut_off", finish, row={"output": "The answer is 1"})


def test_a_cut_off_sample_does_not_vote() -> None:
    found = answered([Reply("16", "length"), Reply("15")], Config(samples=2))
    assert not isinstance(found, Drop)
    assert (found["output"], found["votes"]) == ("15", 1)


@pytest.mark.parametrize(
    ("reply", "config", "reason"),
    [
        (Reply(""), Config(), "empty_answer"),
        (Reply("<think>Hm"), Config(), "empty_answer"),
        (Reply("It is 15."), Config(steps=True), "no_answer_line"),
        (Reply("7 + 8\nAnswer:"), Config(steps=True), "empty_answer"),
        (Drop("content_filter", "stopped"), Config(), "content_filter"),
    ],
)
def test_a_row_without_a_usable_sample_is_dropped_by_name(
    reply: Reply | Drop, config: Config, reason: str
) -> None:
    found = answered([reply], config)
    assert isinstance(found, Drop)
    assert found.reason == reason


@pytest.mark.parametrize(
    "nothing", ["I'm sorry, but I can't help with that.", "And so it is.", "抱歉，我无法回答。"]
)
def test_a_refusal_neither_votes_nor_stands_where_another_sample_says_more(nothing: str) -> None:
    poem = "Rain on the roof,\nand the lamp is lit."
    found = kept([nothing, poem, nothing], Config(samples=3))
    assert (found["output"], found["votes"], found["agreement"]) == (poem, 0, None)
    found = kept([nothing, "No.", "Yes.", "No."], Config(samples=4))
    assert (found["output"], found["votes"]) == ("No.", 3)
    assert kept([nothing, nothing], Config(samples=2))["output"] == nothing


def test_only_an_answer_that_reaches_the_reference_is_kept_even_if_it_lost_the_vote() -> None:
    config = Config(samples=3, reference="reference")
    found = kept(["16", "16", "The answer is 15 euros."], config, reference="15")
    assert found["output"] == "The answer is 15 euros."
    assert (found["votes"], found["agreement"], found["reference"]) == (3, 1 / 3, "15")


def test_a_row_that_does_not_reach_its_reference_is_dropped_with_what_it_came_to() -> None:
    found = answered([Reply("16")], Config(reference="reference"), ROW | {"reference": "15"})
    assert isinstance(found, Drop)
    assert (found.reason, found.detail) == ("reference_not_reached", "16, not 15")
    assert found.row["output"] == "16"
    assert found.row["reference"] == "15"


def test_a_row_without_a_reference_is_not_held_to_one() -> None:
    found = kept(["16"], Config(reference="reference"), reference=None)
    assert (found["output"], found["reference"]) == ("16", None)


def test_the_old_output_can_be_the_reference() -> None:
    config = Config(reference="output")
    assert kept(["15"], config)["reference"] == "The answer is 15."
    assert isinstance(answered([Reply("14")], config), Drop)


def test_an_answer_that_says_all_of_the_reference_reaches_it_though_nothing_is_announced() -> None:
    old = "item,count\nbricks,36\nroses,2"
    config, row = Config(samples=2, reference="output"), ROW | {"output": old}
    found = answered([Reply("item,count\nroses,2"), Reply(f"{old}\n")], config, row)
    assert not isinstance(found, Drop)
    assert (found["output"], found["final_answer"], found["agreement"]) == (old, None, None)
    missed = answered([Reply("item,count\nroses,2")] * 2, config, row)
    assert isinstance(missed, Drop)
    assert missed.reason == "reference_not_reached"


@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(["stop", "length"])), min_size=1),
    st.sampled_from([None, "15", "Oslo"]),
    st.booleans(),
)
def test_any_replies_give_one_entry_that_no_cut_off_text_enters(
    replies: list[tuple[str, str]], reference: str | None, steps: bool
) -> None:
    config = Config(samples=len(replies), steps=steps, reference="reference")
    found = answered([Reply(*one) for one in replies], config, ROW | {"reference": reference})
    if isinstance(found, Drop):
        assert found.reason
        return
    whole = [text for text, finish in replies if finish == "stop"]
    assert any(text.endswith(found["output"]) for text in whole)
    assert found["votes"] <= len(whole)
    assert (found["agreement"] is None) == (found["final_answer"] is None)
    assert found["agreement"] is None or 0 < found["agreement"] <= 1
    if reference:
        assert found["final_answer"] == reference
