"""Answer an instruction with its input: in one go, step by step, or under constraints.

Right where the grammar recognises the task, but for a share of wrong answers, refusals and replies
that break off, so that samples of one task differ and a vote has something to decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from pipeline.teacher.offline import flaws, grammar
from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.reply import REFUSAL, Answer
from pipeline.teacher.offline.solving import solve
from pipeline.teacher.offline.words import listed

# of a reply to "respond...", each
WRONG_RATE = 0.12
REFUSAL_RATE = 0.008
CUT_RATE = 0.015  # broken off, finish reason "length"
NO_ANSWER_LINE_RATE = 0.02  # steps, and no line with the answer

RESULT_ONLY = "Give the result only."
REFUSALS = (
    "I'm sorry, but I cannot help with that.",
    "Sorry, I do not have enough information to answer this.",
    "As a language model I would rather not answer this. Sorry!",
)
ANSWER = re.compile(r"(?:\n|\s)(?:The answer is|Answer:)\s+(.+?)\.?\s*\Z", re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def respond(values: Mapping[str, Any], rng: Random) -> Answer:
    """Answer in one go."""
    output = answer(values["instruction"], values["input"], rng)
    return _sent(output, rng)


def respond_constraints(values: Mapping[str, Any], rng: Random) -> Answer:
    """Answer in one go, keeping to the constraints."""
    output = answer(values["instruction"], values["input"], rng)
    result = ANSWER.search(output or "")
    if result and values["constraints"] == RESULT_ONLY:
        output = result[1]
    return _sent(output, rng)


def respond_steps(values: Mapping[str, Any], rng: Random) -> Answer:
    """Think first, then write a line "Answer: ..."."""
    task = grammar.recognise(values["instruction"])
    output = answer(values["instruction"], values["input"], rng)
    if task is None or output is None or rng.random() < NO_ANSWER_LINE_RATE:
        return _sent(output, rng)
    result = ANSWER.search(output)
    if result:
        steps, output = output[: result.start()].strip(), result[1]
    else:
        steps = _thoughts(task.family, values["input"])
    return _sent(f"{steps}\nAnswer: {output}", rng)


def answer(instruction: str, source: str, rng: Random) -> str | None:
    """The output of a task of the grammar, at times a wrong one; None for a text of others."""
    task = grammar.recognise(instruction)
    if task is None:
        return None
    output = solve(task, source, rng)
    if output is None or rng.random() >= WRONG_RATE:
        return output
    return wrong(output, task.family, rng)


def wrong(output: str, family: Family, rng: Random) -> str:
    """Another output than the right one: a label, a number or a whole answer that is off."""
    if family.labels:
        return rng.choice([label for label in family.labels if label != output])
    numbers = list(NUMBER.finditer(output))
    if numbers:
        last = numbers[-1]
        off = f"{float(last[0]) + rng.choice((-2, -1, 1, 2, 10)):g}"
        return output[: last.start()] + off.lstrip("-") + output[last.end() :]
    other = grammar.draft(rng, (family,))
    return family.instance(other.slots, rng)[1]


def _thoughts(family: Family, source: str) -> str:
    """What can be said before an answer that shows no steps of its own."""
    first = " ".join(source.split())[:80]
    lines = [f"I read what is given: {first}."] if first else ["Everything is in the task itself."]
    if family.labels:
        lines.append(f"The answer is one of {listed(family.labels, 'or')}, so I compare them.")
    else:
        lines.append(f"It is about {family.domain}, so I go through it piece by piece.")
    return " ".join(lines)


def _sent(output: str | None, rng: Random) -> Answer:
    """The reply, refused or broken off at their rates; None is always refused."""
    if output is None:
        return Answer(REFUSAL, "stop")
    chance = rng.random()
    if chance < REFUSAL_RATE:
        return Answer(rng.choice(REFUSALS), "stop")
    if chance < REFUSAL_RATE + CUT_RATE:
        return Answer(flaws.cut(output, rng), "length")
    return Answer(output, "stop")
