"""What a family of tasks is: ways to ask, slots to vary, and a function that makes an instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pipeline.teacher.offline import words
from pipeline.teacher.offline.phrasing import Pools, Slots

Make = Callable[[Slots, Random], tuple[str, str]]  # slots to (input or "", output)

LABEL = "label"  # the slot in which a classification family is told which label to write for
TAIL = "tail"  # the slot that holds the closing sentence, as a template, or ""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Tasks of one kind; its phrasings stand under its name in `phrasings/`.

    `setting` names the openings and closings that suit it (`frames.py`). `field` is what its
    input is called, empty for tasks that need none. `labels` makes it a classification: `make`
    then writes an input for the label in `slots["label"]`, which becomes the output. `pools` adds
    words of its own to those of `words/`.
    """

    name: str
    domain: str
    setting: str
    make: Make
    field: str = ""
    labels: tuple[str, ...] = ()
    pools: Pools | None = None

    @property
    def phrasings(self) -> tuple[str, ...]:
        """The templates of its instructions."""
        return words.phrasings()[self.name]

    @property
    def is_classification(self) -> bool:
        """Whether its output is one of a few labels."""
        return bool(self.labels)

    def instance(self, slots: Slots, rng: Random, label: str = "") -> tuple[str, str]:
        """One input (empty if none is needed) with its right output."""
        if not self.labels:
            return self.make(slots, rng)
        label = label or rng.choice(self.labels)
        return self.make({**slots, LABEL: label}, rng)[0], label


def worked(slots: Slots, steps: str, result: str) -> tuple[str, str]:
    """The answer to a sum, with or without its steps, as the closing sentence asks."""
    tail = slots.get(TAIL, "")
    if "only" in tail:
        return "", result
    if "working" in tail or "step" in tail:
        return "", f"{steps}\nAnswer: {result}"
    return "", f"{steps} The answer is {result}."


def number(value: float) -> str:
    """A number with at most two decimals and no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
