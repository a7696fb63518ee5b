"""Rewrite tasks of the grammar, tell them apart, and answer them.

A rewriting adds one sentence to a task (`CLAUSES`), which is found again by its words; data that it
adds to an input stands after a line `Data (KIND):`. An answer is that of the task behind it and one
sentence for each that was added. Tasks of others are refused. The flaws of a real teacher come at
the rates below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from pipeline.teacher.offline import answering, flaws, grammar, words
from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.phrasing import Phrasing, parse
from pipeline.teacher.offline.reply import REFUSAL, Answer
from pipeline.teacher.offline.solving import solve

# of a reply to "evolve-..."
COPY_RATE = 0.03  # the task as it was
LEAK_RATE = 0.02  # begins with a marker of the prompt
LONG_RATE = 0.01  # goes on and on
CUT_RATE = 0.02  # broken off, finish reason "length"
EMPTY_RATE = 0.003
# of a reply to "compare"
WRONG_EQUAL_RATE = 0.03
# of a reply to "respond"
SORRY_RATE = 0.02
NOTHING_RATE = 0.012
ANSWER_CUT_RATE = 0.02

DERIVED = 16  # inputs to choose from for a task that comes without one that can be answered
LEAKS = ("#Rewritten Prompt#: {}", "Here is the rewritten prompt: {}", "{} (the given prompt)")
NOTHING = ("It is what it is.", "...", "And so it is.", "That is that, then.")
SORRY = (
    "I'm sorry, but I can't help with that request.",
    "Sorry, this is not something that I am able to do.",
)
KINDS = ("table", "JSON", "XML", "SQL", "code")
DATA = re.compile(rf"(?:^|\n+)Data \(({'|'.join(KINDS)})\):\n(.*?)(?=\n+Data \(|\Z)", re.DOTALL)
ENTRY = re.compile(r"([a-z][a-z' -]*[a-z])[\"'|=> ,:]+(\d+)")


@dataclass(frozen=True, slots=True)
class Clause:
    """A sentence that an operation adds, and what an answer says to it."""

    operation: str
    phrasing: Phrasing
    reply: str


@dataclass(frozen=True, slots=True)
class Evolved:
    """A task of the grammar with the sentences that were added to it, and its input."""

    text: str
    task: grammar.Task
    clauses: tuple[tuple[Clause, dict[str, str]], ...]
    base_input: str
    data: tuple[tuple[str, str], ...]

    @property
    def pair(self) -> tuple[str, str] | None:
        """Input and answer of the task behind it; null where the input cannot be answered."""
        for number in range(DERIVED):
            pair = _derived(self.task, number)
            if not self.task.family.field or pair[0] == self.base_input:
                return pair
        output = solve(self.task, self.base_input, Random(self.base_input))
        return None if output is None else (self.base_input, output)


SENTENCES: tuple[tuple[str, str, str], ...] = (
    (
        "constraints",
        "The answer must mention {item} and {city} at least once each without changing the result.",
        "Mentioned as asked: {item}, {city}.",
    ),
    (
        "constraints",
        "Write it for {audience} and do not use more than one example in the whole answer.",
        "This is put so that it suits {audience}, with one example at most.",
    ),
    (
        "constraints",
        "You must name exactly one thing that {a_job} should avoid when trying this in {month}.",
        "The one thing to avoid in {month}: haste, since mistakes show late for {a_job}.",
    ),
    (
        "constraints",
        "Keep the whole answer below {n:300-900/20} words and within what {name} can read out.",
        "It stays below {n} words, so that {name} can read it out.",
    ),
    (
        "deepen",
        "Say also why this matters to {a_workplace} and what would change if nobody did it.",
        "It matters to {a_workplace} because others rely on it; undone, they would have to guess.",
    ),
    (
        "deepen",
        "Go into what {a_job} would object to here and how {name} could answer the objection.",
        "The objection of {a_job} would be that a case is missing; {name} could show one more.",
    ),
    (
        "deepen",
        "Discuss how the answer would differ in {city} and what that says about the matter.",
        "In {city} the names would differ and the reasoning would not, so it is general.",
    ),
    (
        "concretize",
        "Take the case of {name}, {a_job} in {city}, who has {n:3-40} {item} at hand for it.",
        "For {name}, {a_job} in {city} with {n} {item}, nothing else has to be known.",
    ),
    (
        "concretize",
        "Let it be about what happened during {event} at {a_workplace} one {weekday} in {month}.",
        "At {a_workplace}, one {weekday} in {month}, it held during {event} as well.",
    ),
    (
        "reasoning",
        "First list what is known, then work out what follows for {name}, and finally check it.",
        "First, what is known stands above. Then, for {name}, it follows at once. Finally, a check "
        "the other way round agrees.",
    ),
    (
        "reasoning",
        "Before you answer, weigh {topic} against {topic2}, then reach a conclusion step by step.",
        "Step 1: {topic} is near the matter. Step 2: {topic2} is further off. Then the first "
        "decides.",
    ),
    (
        "reasoning",
        "Then explain in {n:2-5} steps to {audience} how the second half depends on the first.",
        "In {n} steps for {audience}: the first half gives the terms, then the second uses them.",
    ),
    *(
        (
            "complicate",
            f"Take the {kind} in the input into account and say which of its entries is the "
            "largest, for {name} in {city}.",
            "",
        )
        for kind in KINDS
    ),
)


@cache
def _clauses() -> tuple[Clause, ...]:
    return tuple(Clause(operation, parse(text), reply) for operation, text, reply in SENTENCES)


@cache
def _heads() -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split("{")[0].lower() for _, text, _ in SENTENCES))


def read(instruction: str, source: str) -> Evolved | None:
    """The task behind a text and its input, or null for a task of others."""
    text = " ".join(instruction.split())
    lowered = text.lower()
    starts = {at for head in _heads() for at in _places(lowered, head)}
    for at in sorted(starts):
        clauses = _read_clauses(lowered[at:])
        if clauses is not None and (task := grammar.recognise(text[:at])) is not None:
            return _with_input(text, task, clauses, source)
    task = grammar.recognise(text)
    return None if task is None else _with_input(text, task, (), source)


def _places(text: str, head: str) -> list[int]:
    return [found.start() + 1 for found in re.finditer(re.escape(f" {head}"), text)]


def _read_clauses(text: str) -> tuple[tuple[Clause, dict[str, str]], ...] | None:
    found: list[tuple[Clause, dict[str, str]]] = []
    while text:
        for clause in _clauses():
            if (met := clause.phrasing.read(text)) is not None:
                found.append((clause, met[0]))
                text = met[1]
                break
        else:
            return None
    return tuple(found)


def _with_input(
    text: str,
    task: grammar.Task,
    clauses: tuple[tuple[Clause, dict[str, str]], ...],
    source: str,
) -> Evolved:
    data = tuple((found[1], found[2].strip()) for found in DATA.finditer(source))
    return Evolved(text, task, clauses, DATA.sub("", source).strip(), data)


def _derived(task: grammar.Task, number: int) -> tuple[str, str]:
    source, output = task.family.instance(task.slots, Random(f"{task.family.name}:{number}"))
    return source.strip(), output


def deeper(operation: str, values: Mapping[str, Any], rng: Random) -> Answer:
    """The task with one more sentence; data comes with an input."""
    found = read(values["instruction"], values["input"])
    if found is None:
        return Answer(REFUSAL, "stop")
    if (flawed := _flawed(found.text, rng)) is not None:
        return flawed
    used = {clause for clause, _ in found.clauses}
    fitting = [clause for clause in _clauses() if clause.operation == operation]
    clause = rng.choice([one for one in fitting if one not in used] or fitting)
    sentence, _ = clause.phrasing.fill(rng)
    text = f"{found.text} {sentence}"
    if operation == "complicate":
        kind = KINDS[fitting.index(clause)]
        base = found.base_input if found.pair else _derived(found.task, rng.randrange(DERIVED))[0]
        blocks = [f"Data ({one}):\n{block}" for one, block in (*found.data, _data(kind, rng))]
        text += "\nInput: " + "\n\n".join(part for part in (base, *blocks) if part)
    elif found.pair is None:
        text += f"\nInput: {_derived(found.task, rng.randrange(DERIVED))[0]}"
    return _perhaps_cut(text, CUT_RATE, rng)


def broader(values: Mapping[str, Any], rng: Random) -> Answer:
    """A task of another domain."""
    found = read(values["instruction"], values["input"])
    if found is None:
        return Answer(REFUSAL, "stop")
    if (flawed := _flawed(found.text, rng)) is not None:
        return flawed
    others = tuple(one for one in FAMILIES if one.domain != found.task.family.domain)
    task = grammar.recognise(text := grammar.draft(rng, others).instruction)
    assert task is not None
    if task.family.field:
        text += f"\nInput: {_derived(task, rng.randrange(DERIVED))[0]}"
    return _perhaps_cut(text, CUT_RATE, rng)


def compare(values: Mapping[str, Any], rng: Random) -> Answer:
    """Equal where two tasks ask the same with the same input; now and then where they do not."""
    first, second = (
        read(one["instruction"], one["input"]) for one in (values["first"], values["second"])
    )
    if first is None or second is None:
        return Answer(REFUSAL, "stop")
    is_same = (first.text, first.base_input, first.data) == (
        second.text,
        second.base_input,
        second.data,
    )
    if is_same or rng.random() < WRONG_EQUAL_RATE:
        return Answer("Equal", "stop")
    return Answer(rng.choice(("Not Equal", "Not Equal", "Not equal.")), "stop")


def respond(values: Mapping[str, Any], rng: Random) -> Answer:
    """The answer to a task of the grammar, evolved here or not."""
    found = read(values["instruction"], values["input"])
    if found is not None and not found.clauses:
        return answering.respond(values, rng)
    pair = None if found is None else found.pair
    if found is None or pair is None:
        return Answer(REFUSAL, "stop")
    chance = rng.random()
    if chance < SORRY_RATE:
        return Answer(rng.choice(SORRY), "stop")
    if chance < SORRY_RATE + NOTHING_RATE:
        return Answer(rng.choice(NOTHING), "stop")
    parts = [pair[1]]
    data = list(found.data)
    for clause, slots in found.clauses:
        if clause.operation == "complicate":
            parts += [_largest(data.pop(0), slots["name"])] if data else []
        else:
            parts.append(words.sentence(_filled(clause.reply, slots)))
    return _perhaps_cut("\n".join(parts), ANSWER_CUT_RATE, rng)


def respond_steps(values: Mapping[str, Any], rng: Random) -> Answer:
    """The same after a line of thought, in front of a line "Answer: ..."."""
    found = read(values["instruction"], values["input"])
    if found is None or not found.clauses:
        return answering.respond_steps(values, rng)
    reply = respond(values, rng)
    steps = f"First comes the task itself, then what was added to it: {len(found.clauses)}."
    return Answer(f"{steps}\nAnswer: {reply.text}", reply.finish_reason)


def _filled(template: str, slots: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], template)


def _flawed(text: str, rng: Random) -> Answer | None:
    """A rewriting that failed, or null for most."""
    chance = rng.random()
    if chance < COPY_RATE:
        return Answer(text, "stop")
    if (chance := chance - COPY_RATE) < LEAK_RATE:
        return Answer(rng.choice(LEAKS).format(text), "stop")
    if (chance := chance - LEAK_RATE) < LONG_RATE:
        return Answer(flaws.endless(text, rng), "stop")
    return Answer("", "stop") if chance - LONG_RATE < EMPTY_RATE else None


def _perhaps_cut(text: str, rate: float, rng: Random) -> Answer:
    return Answer(flaws.cut(text, rng), "length") if rng.random() < rate else Answer(text, "stop")


def _data(kind: str, rng: Random) -> tuple[str, str]:
    """A block of names and numbers, all different, in one of the notations."""
    names = rng.sample(words.pool("item"), 4)
    entries = dict(zip(names, rng.sample(range(10, 100), 4), strict=True))
    lines = {
        "table": [
            "| item | number |",
            "| --- | --- |",
            *(f"| {a} | {b} |" for a, b in entries.items()),
        ],
        "JSON": [json.dumps(entries)],
        "XML": [
            "<stock>",
            *(f"  <entry name='{a}'>{b}</entry>" for a, b in entries.items()),
            "</stock>",
        ],
        "SQL": [f"INSERT INTO stock VALUES ('{a}', {b});" for a, b in entries.items()],
        "code": [f"stock = {entries!r}"],
    }[kind]
    return kind, "\n".join(lines)


def _largest(block: tuple[str, str], name: str) -> str:
    kind, text = block
    entries = {found[1]: int(found[2]) for found in ENTRY.finditer(text)}
    most = max(entries, key=lambda entry: entries[entry])
    return f"For {name}, the largest entry of the {kind} is {most} with {entries[most]}."
