"""The flaws of a real teacher, at stated rates, so that every filter of a run meets some.

A rate is the share of replies or, where it says so, of items or instances that have the flaw. Most
rows are good: all the flaws of an item together stay below a fifth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from pipeline.teacher.offline import words
from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import parse

# of a whole reply to "bootstrap"
REFUSAL_RATE = 0.005
EMPTY_RATE = 0.003
CUT_RATE = 0.03  # broken off in mid-sentence, finish reason "length"
FENCE_RATE = 0.01  # wrapped in ``` lines
TITLES_RATE = 0.01  # each item begins with a bold title
NUMBER_AGAIN_RATE = 0.02  # begins with the number that the prompt ended in
GAP_RATE = 0.01  # a number is left out

# of an item of a "bootstrap" reply
NEAR_DUPLICATE_RATE = 0.08  # a demonstration with a word changed
REPEAT_RATE = 0.01  # a demonstration as it stands
SHORT_RATE = 0.012  # fewer than four words
BANNED_RATE = 0.02  # asks for pictures and the like
PROGRAM_RATE = 0.012  # "Write a program ..."
PUNCTUATION_RATE = 0.006  # begins with a punctuation mark
FOREIGN_RATE = 0.004  # begins with a letter outside ASCII
LONG_RATE = 0.003  # more than 150 words

# of a reply to "classify"
WRONG_VERDICT_RATE = 0.02
UNTIDY_VERDICT_RATE = 0.01  # "Yes." for "Yes"

# of a reply to "instances_..."
WRONG_LABEL_RATE = 0.03  # one instance of a classification has another label
SAME_RATE = 0.01  # an output that repeats its input
EMPTY_OUTPUT_RATE = 0.008
COLON_RATE = 0.006  # an output that ends in a colon
REPEATED_INSTANCE_RATE = 0.012
CONFLICT_RATE = 0.01  # one input with two outputs
INSTANCE_CUT_RATE = 0.02  # broken off, finish reason "length"

REFUSALS = (
    "I'm sorry, but I cannot continue this list.",
    "I'm sorry, but I cannot help with this request.",
    "Sorry, I am unable to come up with more tasks.",
)
TITLES = ("Quick Task", "Everyday Help", "Try This", "Small Challenge", "Good Question")
SHORT = (
    "Explain {topic}.",
    "Describe {topic}.",
    "Discuss {topic}.",
    "Define {noun}.",
    "Try {hobby}.",
)
BANNED = (
    "Draw {a_noun} next to {a_noun2} in the style of {a_job}.",
    "Describe the image of {a_place} in {city} that is shown above.",
    "Make a graph of {item} sold by {a_workplace} in {month} and {month2}.",
    "Find a picture about {topic} for {event}.",
    "Mark {city}, {city2} and {city3} on a map for {a_job}.",
    "Save the notes on {topic} in a file for {name}.",
    "Plot how interest in {topic} changed after {event}.",
    "Go to {a_place} in {city} and count the {item}.",
)
PROGRAM = (
    "Write a program that counts {item} for {a_workplace}.",
    "Write a program to sort {item} by price for {a_job} in {city}.",
    "Write a program which reminds {name} of {event}.",
)
PUNCTUATION = (
    '"{topic}" is the title of a talk at {a_workplace}. Suggest a subtitle for {audience}.',
    "- List three facts on {topic} that {a_job} should know.",
    "(Easy) Explain to {audience} why {topic} matters in {city}.",
    "* Compare {topic} with {topic2} in two sentences for {name}.",
)
FOREIGN = (
    "À {city}, where would {name} learn about {topic}? Suggest a plan.",
    "Écrivez une lettre à {name} pour {a_workplace} in {city}.",
    "“{topic}”: explain this title to {audience} in {city}.",
    "Über {city}: tell {a_job} three things about {topic}.",
)
KINDS = (
    (SHORT_RATE, SHORT),
    (BANNED_RATE, BANNED),
    (PROGRAM_RATE, PROGRAM),
    (PUNCTUATION_RATE, PUNCTUATION),
    (FOREIGN_RATE, FOREIGN),
)
LONG = "Bear in mind that {name}, {a_job} from {city}, has heard of {topic} at {a_workplace}."
SWAPS = {
    "write": "compose", "compose": "write", "give": "provide", "provide": "give",
    "explain": "describe", "describe": "explain", "find": "determine", "what": "which",
    "make": "create", "create": "make", "is": "was", "are": "were", "list": "name",
}  # fmt: skip
EXTRAS = (" Be brief.", " Please be precise.", " Thank you.", " Take your time.")


def whole_reply(rng: Random) -> str | None:
    """A reply without any item, or None for most replies."""
    chance = rng.random()
    if chance < REFUSAL_RATE:
        return " " + rng.choice(REFUSALS)
    return "" if chance < REFUSAL_RATE + EMPTY_RATE else None


def item(instruction: str, shown: Sequence[str], rng: Random) -> str:
    """The instruction itself or, at the rates of items, a flawed one in its place."""
    chance = rng.random()
    if shown and chance < NEAR_DUPLICATE_RATE + REPEAT_RATE:
        task = " ".join(shown[int(rng.random() * len(shown))].split())
        return task if chance < REPEAT_RATE else reworded(task, rng)
    chance -= NEAR_DUPLICATE_RATE + REPEAT_RATE
    if chance < 0:
        return instruction
    for rate, templates in KINDS:
        if chance < rate:
            return _filled(rng.choice(templates), rng)
        chance -= rate
    if chance < LONG_RATE:
        return " ".join([instruction, *(_filled(LONG, rng) for _ in range(12))])
    return instruction


def reworded(task: str, rng: Random) -> str:
    """The same task with a number, a word or its end changed."""
    numbers = re.findall(r"\d+", task)
    if numbers:
        return task.replace(numbers[-1], str(int(numbers[-1][:9]) + rng.randint(1, 5)))
    tokens = task.split()
    for index, token in enumerate(tokens):
        other = SWAPS.get(token.lower())
        if other and rng.random() < 0.7:
            tokens[index] = words.sentence(other) if token[0].isupper() else other
            return " ".join(tokens)
    return task + rng.choice(EXTRAS)


def endless(text: str, rng: Random) -> str:
    """The text with one remark after another behind it, over four hundred words."""
    return " ".join([text, *(_filled(LONG, rng) for _ in range(25))])


def numbered(items: Sequence[str], first: int, rng: Random) -> tuple[str, bool]:
    """The items as the rest of a numbered list, and whether it was broken off."""
    chance = rng.random()
    numbers = list(range(first, first + len(items)))
    if chance < GAP_RATE and len(items) > 2:
        gap = rng.randrange(2, len(items))
        numbers[gap:] = [number + 1 for number in numbers[gap:]]
    chance -= GAP_RATE
    if 0 <= chance < TITLES_RATE:
        items = [f"**{rng.choice(TITLES)}:** {text}" for text in items]
    chance -= TITLES_RATE
    head = f" {first}. " if 0 <= chance < NUMBER_AGAIN_RATE else " "
    rest = [f"{number}. {text}" for number, text in zip(numbers[1:], items[1:], strict=True)]
    text = "\n".join([head + items[0], *rest])
    chance -= NUMBER_AGAIN_RATE
    if 0 <= chance < FENCE_RATE:
        text = f"\n```\n{first}. {text.lstrip()}\n```"
    chance -= FENCE_RATE
    if 0 <= chance < CUT_RATE:
        last = len(text) - len(items[-1])
        return text[: last + max(1, int(len(items[-1]) * rng.uniform(0.3, 0.8)))], True
    return text, False


def verdict(is_classification: bool, rng: Random) -> str:
    """Yes or No, sometimes wrong, sometimes with a full stop."""
    chance = rng.random()
    word = "Yes" if is_classification != (chance < WRONG_VERDICT_RATE) else "No"
    return f"{word}." if 1 - chance < UNTIDY_VERDICT_RATE else word


def instances(
    pairs: list[tuple[str, str]], family: Family, rng: Random
) -> tuple[list[tuple[str, str]], bool]:
    """The instances with at most one flaw, and whether the reply is to be broken off."""
    index = int(rng.random() * len(pairs))
    source, output = pairs[index]
    chance = rng.random()
    if family.labels and chance < WRONG_LABEL_RATE:
        wrong = rng.choice([label for label in family.labels if label != output])
        return [*pairs[:index], (source, wrong), *pairs[index + 1 :]], False
    chance -= WRONG_LABEL_RATE
    for rate, flawed in (
        (SAME_RATE, [(source, source or output)]),
        (EMPTY_OUTPUT_RATE, [(source, "")]),
        (COLON_RATE, [(source, "Here is the answer:")]),
        (REPEATED_INSTANCE_RATE, [(source, output), (source, output)]),
        (CONFLICT_RATE, [(source, output), (source, _other(output, family, rng))]),
    ):
        if 0 <= chance < rate:
            return [*pairs[:index], *flawed, *pairs[index + 1 :]], False
        chance -= rate
    return pairs, 0 <= chance < INSTANCE_CUT_RATE


def cut(text: str, rng: Random) -> str:
    """The text, broken off in its last third."""
    return text[: max(1, int(len(text) * rng.uniform(0.67, 0.95)))]


def _other(output: str, family: Family, rng: Random) -> str:
    labels = [label for label in family.labels if label != output]
    return rng.choice(labels) if labels else f"{output} Or perhaps not."


def _filled(template: str, rng: Random) -> str:
    text = parse(template).fill(rng)[0]
    return words.sentence(text)
