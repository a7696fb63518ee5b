"""What shape the rows of a file have, told from the names of its fields.

| shape | fields |
| --- | --- |
| `alpaca` | `instruction`, `input` or `context`, `output`, `response` or `completion` |
| `self-instruct` | `instruction` and `instances`, a list of `input` and `output` |
| `messages` | `messages`, a list of `role` and `content` |
| `sharegpt` | `conversations` or `conversation`, a list of `from` and `value` |
| `prompt` | `prompt`, and `completion`, `response` or `output` |
| `text` | `text`, or an answer's names: rows without an instruction, only where asked for |

A second answer is `other_output`, or `rejected` beside `chosen`; the right one, where one is known,
is `reference`; `rating` is a number that rows were given, `embedding` a vector of each. A chain of
thought before the answer is `reasoning`, only under a name that the recipe gives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Name = Literal["alpaca", "self-instruct", "messages", "sharegpt", "prompt", "text"]
Target = Literal[
    "instruction",
    "input",
    "output",
    "other_output",
    "messages",
    "instances",
    "reference",
    "reasoning",
    "rating",
    "embedding",
    "source",
    "license",
]

ANSWERS = ("output", "response", "completion", "answer", "chosen")
OTHERS = ("other_output", "rejected")
ALTERNATIVES: dict[Name, dict[Target, tuple[str, ...]]] = {
    "self-instruct": {"instruction": ("instruction",), "instances": ("instances",)},
    "alpaca": {
        "instruction": ("instruction",),
        "input": ("input", "context"),
        "output": ANSWERS,
        "other_output": OTHERS,
    },
    "messages": {"messages": ("messages",)},
    "sharegpt": {"messages": ("conversations", "conversation")},
    "prompt": {"instruction": ("prompt",), "output": ANSWERS, "other_output": OTHERS},
    "text": {"output": ("text", *ANSWERS)},
}
"""Which of our columns is found under which names, the first that is there; the first shape that
has all it needs is taken."""
NEEDED: dict[Name, tuple[Target, ...]] = {
    "self-instruct": ("instruction", "instances"),
    "alpaca": ("instruction",),
    "messages": ("messages",),
    "sharegpt": ("messages",),
    "prompt": ("instruction",),
    "text": ("output",),
}
OF_EVERY_SHAPE: dict[Target, tuple[str, ...]] = {
    "reference": ("reference",),
    "reasoning": (),
    "rating": ("rating",),
    "embedding": ("embedding",),
    "source": ("source",),
    "license": ("license", "licence"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the fields of a row are: the file's name of a field by our column's."""

    fields: Mapping[Target, str]

    @property
    def is_flat(self) -> bool:
        """Whether a row is texts alone, and makes one row of ours."""
        is_nested = "messages" in self.fields or "instances" in self.fields
        return "instruction" in self.fields and not is_nested


def recognise(
    names: Collection[str], *, shape: Name | None = None, columns: Mapping[Target, str]
) -> Shape | None:
    """The shape of rows whose fields have these names; null where none fits.

    `shape` is taken where it is given; `columns` names fields that are called otherwise, and stands
    alone where it names an instruction or messages.
    """
    shared = of_every_shape(names, columns=columns)
    if "instruction" in columns or "messages" in columns:
        fields = {**shared, **columns}
        return Shape(fields) if set(columns.values()) <= set(names) else None
    told = tuple(name for name in ALTERNATIVES if name != "text")
    for name in told if shape is None else (shape,):
        fields = {
            target: found
            for target, known in ALTERNATIVES[name].items()
            if (found := columns.get(target) or _first(known, names)) is not None
        }
        if fields.keys() >= set(NEEDED[name]) and set(columns.values()) <= set(names):
            return Shape(shared | fields)
    return None


def of_every_shape(names: Collection[str], *, columns: Mapping[Target, str]) -> dict[Target, str]:
    """The fields that stand beside a row's texts, whatever its shape."""
    return {
        target: found
        for target, known in OF_EVERY_SHAPE.items()
        if (found := columns.get(target) or _first(known, names)) is not None
    }


def _first(known: tuple[str, ...], names: Collection[str]) -> str | None:
    return next((name for name in known if name in names), None)
