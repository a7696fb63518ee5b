"""What a run would ask: the figures of its stages, their sum, and both as text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Asking:
    """What one stage would ask. Tokens are of the requests still to be sent; null is not known.

    `worst` takes every reply to be as long as `max_tokens` lets it, and a conversation to ask as
    often and as much as its stage ever can.
    """

    stage: str
    requests: int
    already_asked: int
    input_tokens: int
    output_tokens: int
    worst_output_tokens: int | None
    cost_usd: str | None
    worst_cost_usd: str | None
    worst_requests: int = 0
    worst_input_tokens: int | None = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A plan: one entry an asking stage, what they sum up to, and what was assumed.

    `asked` has the model of each role that a stage asks.
    """

    run: str
    recipe: str
    teacher: str
    stages: tuple[Asking, ...]
    assumptions: tuple[str, ...]
    asked: dict[str, str]

    @property
    def total(self) -> Asking:
        """The sum over the stages; null where one of them is not known."""
        return Asking(
            stage="total",
            requests=sum(one.requests for one in self.stages),
            already_asked=sum(one.already_asked for one in self.stages),
            input_tokens=sum(one.input_tokens for one in self.stages),
            output_tokens=sum(one.output_tokens for one in self.stages),
            worst_output_tokens=_sum([one.worst_output_tokens for one in self.stages]),
            cost_usd=_sum_money([one.cost_usd for one in self.stages]),
            worst_cost_usd=_sum_money([one.worst_cost_usd for one in self.stages]),
            worst_requests=sum(one.worst_requests for one in self.stages),
            worst_input_tokens=_sum([one.worst_input_tokens for one in self.stages]),
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain data, the total included."""
        return dataclasses.asdict(self) | {"total": dataclasses.asdict(self.total)}

    def as_text(self) -> str:
        """For people."""
        whom = ", ".join(f"{role} {name}" for role, name in self.asked.items())
        lines = [f"{self.recipe} in {self.run}, {whom or 'nobody is asked'}. Nothing is sent.", ""]
        if self.stages:
            lines += [*_table((*self.stages, self.total)), ""]
        else:
            lines += ["No stage of this recipe asks a model.", ""]
        return "\n".join([*lines, *(f"* {line}" for line in self.assumptions)]) + "\n"


def _sum(found: list[int | None]) -> int | None:
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def _sum_money(found: list[str | None]) -> str | None:
    known = [Decimal(one) for one in found if one is not None]
    return str(sum(known, Decimal(0))) if len(known) == len(found) else None


def _table(stages: tuple[Asking, ...]) -> list[str]:
    head = (
        "stage",
        "requests",
        "asked before",
        "input tokens",
        "output tokens",
        "at worst",
        "cost",
        "at worst",
    )
    rows = [
        (
            one.stage,
            f"{one.requests:,}",
            f"{one.already_asked:,}",
            f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            "?" if one.worst_output_tokens is None else f"{one.worst_output_tokens:,}",
            "?" if one.cost_usd is None else f"${one.cost_usd}",
            "?" if one.worst_cost_usd is None else f"${one.worst_cost_usd}",
        )
        for one in stages
    ]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)))
    return lines
