"""What the teacher writes: a pure function of the seed, the request's hash and its prompt.

Texts come from a small word grammar. Two instructions share few words in order, so thousands of
them stay below a ROUGE-L of 0.7 against each other, and none holds a digit or a word that
Self-Instruct's keyword rule drops.
"""

import json
import re
from collections.abc import Callable, Iterator
from hashlib import shake_256
from pathlib import Path
from typing import Any

WORDS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("words.json").read_text(encoding="utf-8")
)
VERBS, NOUNS, ADJECTIVES = WORDS["verbs"], WORDS["nouns"], WORDS["adjectives"]
PREPOSITIONS, LABELS = WORDS["prepositions"], WORDS["labels"]

# V verb, A adjective, N noun, P preposition; everything else stands for itself
FORMS = [
    "V the A A N P the A N, then V one A N and its N P A N.",
    "V how the A A N could V some A A N P the N of A N.",
    "V every A A N that one A N may V P A N or A A N.",
    "V both A N and A N P a N, and V which N suits the A A N P N.",
    "V why the A N of the A A N would V its A N P A A N.",
    "V, P some A N, what A N and A N V to any A A N.",
    "V a short A N P the A A N whose A N could V A N.",
    "V this A A N as if A N were the A N P some A N, and V it P N.",
    "V whether one A A N and the A N should V A N P A N P N.",
    "V three A N P the A A N for a N that likes to V A A N.",
]
ENDS_IN_NUMBER = re.compile(r"(?:^|\n)[ \t]*(?:Task )?(\d+)[ \t]*([.:)])\s*(Instruction:)?\s*\Z")
NUMBERED_LINE = re.compile(r"^[ \t]*(?:Task )?(\d+)[ \t]*[.:)][ \t]", re.MULTILINE)
RATING = re.compile(
    r"\b(?:rate|score|rating|grade)\b.{0,300}?"
    r"(?:\bscale\b|\b[01] to (?:5|6|10|100)\b|\b[01]\s?-\s?(?:5|6|10)\b|out of)",
    re.IGNORECASE | re.DOTALL,
)
ASKS_WHETHER_CLASSIFICATION = re.compile(r"classification[^\n]{0,80}\?[^?]{0,60}\Z", re.IGNORECASE)
REWRITES = re.compile(
    r"(?:rewritten|created) prompt|rewrit\w+ (?:the|this|a) (?:given )?(?:prompt|instruction)",
    re.IGNORECASE,
)
ASKS_YES_OR_NO = re.compile(r"\byes\b.{1,20}\bno\b", re.IGNORECASE | re.DOTALL)
ASKS_FOR_LIST = re.compile(r"\b(?:list|come up with|write|generate|more)\b", re.IGNORECASE)


class Dice:
    """Numbers drawn from a hash: the same on every machine and in every Python."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._numbers = self._draw()

    def _draw(self) -> Iterator[int]:
        size = 1024
        while True:
            yield from memoryview(shake_256(self._key).digest(size)).cast("H")
            self._key += b"+"

    def below(self, n: int) -> int:
        """Draw from 0 to n - 1."""
        return next(self._numbers) % n

    def chance(self, p: float) -> bool:
        """Say yes with probability `p`, drawing only where the answer is open."""
        return p > 0 and next(self._numbers) < p * 65536

    def pick(self, words: list[str]) -> str:
        """Draw one of `words`."""
        return words[next(self._numbers) % len(words)]


LISTS = {"V": VERBS, "A": ADJECTIVES, "N": NOUNS, "P": PREPOSITIONS}
SLOT = re.compile(r"\b[VANP]\b")


def _compile(form: str) -> tuple[str, list[list[str]]]:
    slots = [LISTS[m.group()] for m in SLOT.finditer(form)]
    return SLOT.sub("%s", form), slots


COMPILED = [_compile(form) for form in FORMS]


def instruction(dice: Dice) -> str:
    """Draw one instruction of 16 to 25 words."""
    form, slots = COMPILED[dice.below(len(COMPILED))]
    text = form % tuple(dice.pick(words) for words in slots)
    return text[0].upper() + text[1:]


def statement(dice: Dice) -> str:
    """Draw one sentence that asks for nothing."""
    return (
        f"The {dice.pick(ADJECTIVES)} {dice.pick(NOUNS)} {dice.pick(PREPOSITIONS)} "
        f"a {dice.pick(NOUNS)} can {dice.pick(VERBS)} the {dice.pick(ADJECTIVES)} "
        f"{dice.pick(NOUNS)} {dice.pick(PREPOSITIONS)} {dice.pick(ADJECTIVES)} {dice.pick(NOUNS)}."
    )


def prose(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Answer in one to four sentences."""
    return " ".join(statement(dice) for _ in range(1 + dice.below(4)))


def numbered(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Continue a numbered list.

    After a prompt that ends in a bare "9." the first item carries no number, as a completion
    would; set `restate_number` for a chat model that repeats it.
    """
    end = ENDS_IN_NUMBER.search(prompt)
    if end:
        first = int(end.group(1))
        separator = end.group(2)
    else:
        numbers = [int(n) for n in NUMBERED_LINE.findall(prompt[-4000:])]
        first = max(numbers, default=0) + 1
        separator = "."
    items = []
    for number in range(first, first + int(settings.get("items", 8))):
        if dice.chance(settings.get("duplicate_rate", 0)):
            text = instruction(Dice(b"duplicate%d" % dice.below(20)))
        elif dice.chance(settings.get("garbage_rate", 0)):
            text = "!" * (1 + dice.below(9))
        else:
            text = instruction(dice)
        bare = number == first and end is not None and not settings.get("restate_number")
        items.append(" " + text if bare else f"{number}{separator} {text}")
    return "\n".join(items)


def alpaca(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Continue a list of instruction, input and output blocks, as Alpaca's prompt asks."""
    end = ENDS_IN_NUMBER.search(prompt)
    first = int(end.group(1)) if end else 1
    blocks = []
    for number in range(first, first + int(settings.get("items", 8))):
        text = instruction(dice)
        head = f" {text}" if number == first and end else f"{number}. Instruction: {text}"
        given = "<noinput>" if dice.below(5) < 3 else statement(dice)
        blocks.append(f"{head}\n{number}. Input:\n{given}\n{number}. Output:\n{statement(dice)}")
    return "\n###\n".join(blocks)


def yes_no(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Answer Yes (15 of 100 times, or `yes_rate`) or No."""
    return "Yes" if dice.chance(settings.get("yes_rate", 0.15)) else "No"


def input_first(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Write instances as Self-Instruct's input-first template asks for them."""
    if dice.below(4) == 0:
        return f"Output: {statement(dice)}"
    return "\n\n".join(
        f"Example {i}\nInput: {statement(dice)}\nOutput: {statement(dice)}"
        for i in range(1, 2 + dice.below(3))
    )


def output_first(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Write labelled instances as Self-Instruct's output-first template asks for them."""
    start = dice.below(len(LABELS))
    return "\n\n".join(
        f"Class label: {LABELS[(start + i) % len(LABELS)]}\nText: {statement(dice)}"
        for i in range(2 + dice.below(2))
    )


def instances(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Write instances in the form that the prompt shows."""
    form = output_first if "Class label:" in prompt else input_first
    return form(dice, prompt, settings)


def rating(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Give a number from 0 to 5 in halves on the first line, and a reason after it."""
    return f"{dice.below(11) / 2:g}\n{statement(dice)}"


def evolved(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Write one longer instruction."""
    return f"{instruction(dice)} {instruction(dice)}"


def not_equal(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Judge two prompts: Equal one time in ten."""
    return "Equal" if dice.below(10) == 0 else "Not Equal"


def fixed(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Write `text` whatever was asked."""
    return str(settings.get("text", "This is the reply."))


def echo(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Repeat the prompt."""
    return prompt


def auto(dice: Dice, prompt: str, settings: dict[str, Any]) -> str:
    """Choose by looking at the prompt."""
    return MODES[recognise(prompt)](dice, prompt, settings)


def recognise(prompt: str) -> str:
    """Name the mode that fits a prompt; what stands near its end decides before the rest."""
    end = ENDS_IN_NUMBER.search(prompt[-200:])
    if end:
        return "alpaca" if end.group(3) else "numbered"
    tail = prompt[-1500:]
    if ASKS_WHETHER_CLASSIFICATION.search(prompt[-300:]):
        return "yes_no"
    if "classif" in prompt.lower() and ASKS_YES_OR_NO.search(prompt[-300:]):
        return "yes_no"
    if "Not Equal" in prompt:
        return "not_equal"
    if prompt.count("Class label:") > 1:
        return "output_first"
    if "Example 1" in prompt:
        return "input_first"
    if RATING.search(prompt[:1500]) or RATING.search(tail):
        return "rating"
    if "Class label:" in prompt:
        return "output_first"
    if "Output:" in prompt:
        return "input_first"
    if REWRITES.search(tail):
        return "evolved"
    if len(NUMBERED_LINE.findall(prompt)) > 1 and ASKS_FOR_LIST.search(prompt):
        return "numbered"
    return "prose"


MODES: dict[str, Callable[[Dice, str, dict[str, Any]], str]] = {
    "auto": auto,
    "numbered": numbered,
    "alpaca": alpaca,
    "yes_no": yes_no,
    "instances": instances,
    "input_first": input_first,
    "output_first": output_first,
    "rating": rating,
    "evolved": evolved,
    "not_equal": not_equal,
    "fixed": fixed,
    "echo": echo,
    "prose": prose,
}
