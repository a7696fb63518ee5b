"""Write whole tasks: several in one reply, one after three examples, one in other words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from pipeline.teacher.offline import flaws, grammar
from pipeline.teacher.offline.answering import ANSWER, RESULT_ONLY
from pipeline.teacher.offline.family import LABEL, TAIL
from pipeline.teacher.offline.phrasing import Phrasing, parse
from pipeline.teacher.offline.reply import REFUSAL, Answer
from pipeline.teacher.offline.words import sentence

ITEMS_MISSING = (0, 0, 0, 1, 1, 2, 3, 5)  # how many tasks fewer than asked for, drawn evenly

# of a task in a reply to "one-call"
EMPTY_OUTPUT_RATE = 0.008
NO_FIELD_RATE = 0.01  # the field Input is left out
OTHER_MARKER_RATE = 0.02  # "<no input>" for "<noinput>"
HEADING_RATE = 0.01  # the output begins with a Markdown heading
# of a whole reply
REFUSAL_RATE = 0.005
CUT_RATE = 0.05
SKIPPED_NUMBER_RATE = 0.02
# of a reply to "unnatural"
FIELD_MISSING_RATE = 0.02
UNNATURAL_CUT_RATE = 0.015
# of a reply to "reformulate"
UNCHANGED_RATE = 0.03
DRIFT_RATE = 0.03  # asks for something else
LABELLED_RATE = 0.03  # begins with a field name
REFORMULATE_CUT_RATE = 0.01
REQUEST_RATE = 0.35  # begins by asking for help

REQUESTS = (
    "Here is what I would like you to do.",
    "Please help me with the following.",
    "Can you take care of this for me?",
    "This is the task.",
)
LAST_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")


def one_call(values: Mapping[str, Any], rng: Random) -> Answer:
    """Go on with the blocks of `tasks` from `first`, whose "Instruction:" stands in the prompt."""
    first, last = int(values["first"]), int(values["last"])
    if rng.random() < REFUSAL_RATE:
        return Answer(" " + rng.choice(flaws.REFUSALS), "stop")
    count = max(1, last - first + 1 - rng.choice(ITEMS_MISSING))
    numbers = list(range(first, first + count))
    if rng.random() < SKIPPED_NUMBER_RATE and count > 2:
        gap = rng.randrange(1, count)
        numbers[gap:] = [number + 1 for number in numbers[gap:]]
    blocks = [_block(number, values["tasks"], rng) for number in numbers]
    text = "\n###\n".join(blocks).removeprefix(f"{first}. Instruction:")
    if rng.random() < CUT_RATE:
        short = len(text) - len(blocks[-1])
        return Answer(text[: short + int(len(blocks[-1]) * rng.uniform(0.3, 0.9))], "length")
    return Answer(text, "stop")


def _block(number: int, shown: list[Mapping[str, str]], rng: Random) -> str:
    task = grammar.draft(rng)
    source, output = task.family.instance(task.slots, rng)
    instruction = flaws.item(task.instruction, [one["instruction"] for one in shown], rng)
    chance = rng.random()
    if chance < EMPTY_OUTPUT_RATE:
        output = ""
    elif chance < EMPTY_OUTPUT_RATE + HEADING_RATE:
        output = f"### Answer\n{output}"
    marker = "<no input>" if rng.random() < OTHER_MARKER_RATE else "<noinput>"
    fields = [f"Instruction: {instruction}", f"Input:\n{source or marker}", f"Output:\n{output}"]
    if rng.random() < NO_FIELD_RATE:
        del fields[1]
    return "\n".join(f"{number}. {field}" for field in fields)


def unnatural(values: Mapping[str, Any], rng: Random) -> Answer:
    """Write one more example: instruction, input and constraints, without the output."""
    if rng.random() < REFUSAL_RATE:
        return Answer(rng.choice(flaws.REFUSALS), "stop")
    task = grammar.draft(rng)
    source, output = task.family.instance(task.slots, rng)
    shown = [example["instruction"] for example in values["examples"]]
    constraints = "None."
    if task.family.labels:
        constraints = f"The output is one of these: {', '.join(task.family.labels)}."
    elif ANSWER.search(output) and not task.slots[TAIL]:
        constraints = rng.choice((RESULT_ONLY, "None."))
    fields = [
        f"Instruction: {flaws.item(task.instruction, shown, rng)}",
        f"Input: {source or 'None.'}",
        f"Constraints: {constraints}",
    ]
    if rng.random() < FIELD_MISSING_RATE:
        del fields[rng.randrange(1, 3)]
    text = "\n".join(fields)
    if rng.random() < UNNATURAL_CUT_RATE:
        return Answer(flaws.cut(text, rng), "length")
    return Answer(text, "stop")


def reformulate(values: Mapping[str, Any], rng: Random) -> Answer:
    """The instruction by another template of its family, with the same slots."""
    instruction = values["instruction"]
    task = grammar.recognise(instruction)
    if task is None:
        return Answer(REFUSAL, "stop")
    chance = rng.random()
    if chance < UNCHANGED_RATE:
        return Answer(instruction, "stop")
    text = other_words(instruction, task, rng)
    if chance < UNCHANGED_RATE + DRIFT_RATE:
        text = flaws.reworded(text, rng)
    elif chance < UNCHANGED_RATE + DRIFT_RATE + LABELLED_RATE:
        text = f'New wording: "{text}"'
    elif chance > 1 - REFORMULATE_CUT_RATE:
        return Answer(flaws.cut(text, rng), "length")
    return Answer(text, "stop")


def other_words(instruction: str, task: grammar.Task, rng: Random) -> str:
    """The same task by another template of its family, its last sentence kept.

    Where none says the same with these slots, the wording around it changes.
    """
    known = {name: value for name, value in task.slots.items() if name not in (TAIL, LABEL)}
    plain = instruction.lower()
    fitting = [
        text
        for template in task.family.phrasings
        if (text := filled(parse(template, task.family.pools), known)) is not None
        and text.lower() not in plain
    ]
    if not fitting:
        return f"{rng.choice(REQUESTS)} {instruction}"
    text = rng.choice(fitting)
    if task.slots[TAIL]:
        text = f"{text} {LAST_SENTENCE.split(instruction)[-1]}"
    return f"{rng.choice(REQUESTS)} {text}" if rng.random() < REQUEST_RATE else text


def filled(phrasing: Phrasing, known: Mapping[str, str]) -> str | None:
    """A template filled with known slots, clauses with others left out; None if that cannot be."""
    text = []
    for pieces, is_optional in phrasing.clauses:
        slots = [piece for piece in pieces if not isinstance(piece, str)]
        fits = all(
            slot in known
            and (
                known[slot] in phrasing.entries(name)
                if numbers is None
                else known[slot].isdigit() and int(known[slot]) in numbers
            )
            for slot, name, numbers in slots
        )
        if fits:
            text += [piece if isinstance(piece, str) else known[piece[0]] for piece in pieces]
        elif not is_optional:
            return None
    return sentence("".join(text))
