"""Write the instruction that a text of the grammar answers; rate and compare such answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from pipeline.teacher.offline import flaws, grammar
from pipeline.teacher.offline.families import FAMILIES
from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Phrasing, parse
from pipeline.teacher.offline.reply import REFUSAL, Answer
from pipeline.teacher.offline.solving import solve
from pipeline.teacher.offline.whole_tasks import filled

SAMPLES = 16  # answers of each family from which the words that they share are learnt
TRIES = 8  # answers that a pair is compared with, instructions that are tried
ENOUGH = 0.7  # the share of a family's common words that tells it

# of a reply to "backtranslate"
QUOTED_RATE = 0.03
CUT_RATE = 0.01
# of a reply to "rate-pair"
OFF_BY_ONE_RATE = 0.08
NO_NUMBER_RATE = 0.015
# of a reply to "prefer"
FIRST_RATE = 0.04  # whatever stands first, so that some verdicts turn with the order
NO_VERDICT_RATE = 0.01
AS_NEAR = 0.02

WORD = re.compile(r"\w+")
WHOLE = re.compile(r"(?<![\d.])[1-9]\d*(?!\d|\.\d)")
BOUNDS = ((0.9, 5), (0.75, 4), (0.5, 3), (0.25, 2))
GROUNDS = {
    5: "The text gives exactly what was asked for.",
    4: "The text answers what was asked, with small differences.",
    3: "A part of what was asked is there.",
    2: "The text is on the subject and leaves most of the task open.",
    1: "The text has little to do with the instruction.",
}


def backtranslate(values: Mapping[str, Any], rng: Random) -> Answer:
    """The instruction whose answer the text looks like; a text of others is refused."""
    output = values["output"]
    family = family_of(output, rng)
    if family is None:
        return Answer(REFUSAL, "stop")
    text = max((_instruction(family, output, rng) for _ in range(TRIES)), key=lambda one: one[0])[1]
    chance = rng.random()
    if chance < QUOTED_RATE:
        return Answer(f'"{text}"', "stop")
    if chance < QUOTED_RATE + CUT_RATE:
        return Answer(flaws.cut(text, rng), "length")
    return Answer(text, "stop")


def rate_pair(values: Mapping[str, Any], rng: Random) -> Answer:
    """How near the text is to an answer of its own; an instruction of others is refused."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer(REFUSAL, "stop")
    words = _counts(values["output"])
    near = max(_f1(words, _counts(task.family.instance(task.slots, rng)[1])) for _ in range(TRIES))
    rating = next((rating for bound, rating in BOUNDS if near >= bound), 1)
    if task.family.field:  # the input that the text was made from is not there
        rating = min(rating, 2)
    chance = rng.random()
    if chance < OFF_BY_ONE_RATE:
        rating = min(5, max(1, rating + rng.choice((-1, 1))))
    if chance > 1 - NO_NUMBER_RATE:
        return Answer(GROUNDS[rating], "stop")
    return Answer(f"{GROUNDS[rating]}\nScore: {rating}", "stop")


def prefer(values: Mapping[str, Any], rng: Random) -> Answer:
    """Which of two texts is nearer to the answer of the grammar; a task of others is refused."""
    task = grammar.recognise(values["instruction"])
    if task is None:
        return Answer(REFUSAL, "stop")
    right = solve(task, values["input"] or "", rng) or task.family.instance(task.slots, rng)[1]
    wanted = _counts(right)
    first, second = (_f1(wanted, _counts(values[name])) for name in ("first", "second"))
    if rng.random() < NO_VERDICT_RATE:
        return Answer("Both answers have something to say for them.", "stop")
    if rng.random() < FIRST_RATE or first > second + AS_NEAR:
        return Answer(f"A\nIt has {first:.2f} of the words of a right answer.", "stop")
    if second > first + AS_NEAR:
        return Answer(f"B\nIt has {second:.2f} of the words of a right answer.", "stop")
    return Answer("Tie\nBoth have as many words of a right answer.", "stop")


def family_of(output: str, rng: Random) -> Family | None:
    """The family whose answers share most words with a text."""
    labelled = [family for family in FAMILIES if output in family.labels]
    if labelled:
        return rng.choice(labelled)
    words = set(_counts(output))
    best, most = None, 0.0
    for family, common in _common().items():
        if common and len(common & words) >= ENOUGH * len(common):
            score = len(common & words) / len(common) * len(common) ** 0.5
            if score > most:
                best, most = family, score
    return best


@cache
def _common() -> dict[Family, frozenset[str]]:
    """The words that nearly all answers of a family hold."""
    found = {}
    for family in FAMILIES:
        rng = Random(family.name)
        counts: Counter[str] = Counter()
        for _ in range(SAMPLES):
            task = grammar.draft(rng, (family,))
            counts.update(set(_counts(family.instance(task.slots, rng)[1])))
        found[family] = frozenset(word for word, n in counts.items() if n >= 0.8 * SAMPLES)
    return found


def _instruction(family: Family, output: str, rng: Random) -> tuple[int, str]:
    """A filling of one of the family's templates; first how many slots are from the text."""
    phrasing = parse(rng.choice(family.phrasings), family.pools)
    known = _slots_in(phrasing, output)
    n_known = len(known)
    drawn = {**phrasing.fill(rng)[1], **known}
    text = filled(phrasing, known) or filled(phrasing, drawn)
    return n_known, text or grammar.draft(rng, (family,)).instruction


def _slots_in(phrasing: Phrasing, output: str) -> dict[str, str]:
    """Slots of a template whose entries stand in the text, each used once, in their order."""
    text = output.lower()
    numbers = WHOLE.findall(text)
    known: dict[str, str] = {}
    for pieces, _ in phrasing.clauses:
        for piece in pieces:
            if isinstance(piece, str) or piece[0] in known:
                continue
            slot, name, numbered = piece
            if numbered is not None:
                value = next((n for n in numbers if int(n) in numbered), "")
                if value:
                    numbers.remove(value)
            else:
                entries = sorted(phrasing.entries(name), key=len, reverse=True)
                value = next(
                    (
                        entry
                        for entry in entries
                        if entry not in known.values()
                        and entry.lower() in text
                        and re.search(rf"(?<!\w){re.escape(entry.lower())}(?!\w)", text)
                    ),
                    "",
                )
            if value:
                known[slot] = value
    return known


def _counts(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))


def _f1(one: Counter[str], other: Counter[str]) -> float:
    """How many words two texts share, as the F1 of both shares."""
    common = (one & other).total()
    return 2 * common / (one.total() + other.total()) if common else 0.0
