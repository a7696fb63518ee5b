"""What a training shows, in which order, and how fast it learns at each step.

The order is written down here for the whole training, drawn from a seed, so that one that goes on
after a kill shows what was left, and that several processes take each step's rows from it as one
would. Only packs, which TRL makes, are shuffled by the trainer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from filters.share import best
from pipeline.errors import InputError
from pipeline.train.encoding import Encoded
from pipeline.train.groups import Phase
from pipeline.train.plain import Pieces
from pipeline.train.settings import Config


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it is learned: `place` is its number in a curriculum, null where it has none.

    `copies` is how often it stands in the mixture, `phases` are those whose `where` it meets.
    """

    encoded: Encoded
    place: float | None = None
    copies: int = 1
    phases: tuple[int, ...] = ()


@dataclass(slots=True)
class Plan:
    """`examples` are shown in the `order` of their places, or packed where it is null.

    `rates` are what the learning rate of each entry of the order is multiplied by; `said` is told
    to who runs it.
    """

    examples: list[Encoded]
    order: list[int] | None = None
    rates: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    n_rows: int = 0
    """How many of the examples are rows; pieces of plain text come after them."""
    plain_tokens: int = 0
    epochs: float = 1.0
    packs: int = 0
    """How many packs they are, where they are packed."""

    def steps(self, batch: int, most: int | None) -> int:
        """The steps of the training, at most `most`; fills the last one with rows shown before."""
        if self.order is None:
            return most or max(math.ceil(self.packs * self.epochs / batch), 1)
        found = min(math.ceil(len(self.order) / batch), most or len(self.order))
        last = len(self.order) % batch
        if last and found * batch > len(self.order):
            before = self.order[:-last] or self.order
            more = [before[-1 - at % len(before)] for at in range(batch - last)]
            self.order += more
            self.rates += self.rates[-1:] * len(more)
        return found

    def first_seen(self, batch: int, steps: int) -> list[float]:
        """The tokens that each step learns for the first time, up to the last that does."""
        if self.order is None:
            learned = sum({id(one): one.learned for one in self.examples}.values())  # once each
            sizes = [min(batch, self.packs - at) for at in range(0, self.packs, batch)]
            return [learned * size / self.packs for size in sizes[:steps]]
        found, seen, last = [0.0] * steps, set[int](), 1
        for at, place in enumerate(self.order[: steps * batch]):
            if place not in seen:
                seen.add(place)
                found[at // batch] += self.examples[place].learned
                last = at // batch + 1
        return found[:last]

    def plain_shown(self, batch: int, steps: int) -> int:
        """The tokens of plain text that so many steps show; of packs, those of an epoch."""
        if self.order is None:
            return self.plain_tokens
        shown = (at for at in self.order[: steps * batch] if at >= self.n_rows)
        return sum(len(self.examples[at].ids) for at in shown)

    def step_rates(self, batch: int) -> list[float]:
        """What the learning rate of each step is multiplied by; none where it never is."""
        by_step = self.rates[::batch]
        return by_step if any(rate != 1.0 for rate in by_step) else []


def planned(
    rows: Sequence[Example], config: Config, seed: int, pieces: Pieces | None = None
) -> Plan:
    """Plan a training on rows, those held out not among them, and pieces of plain text.

    Raises `InputError` where a phase shows no row, or where rows have an order that packing would
    not keep.
    """
    has_places = config.curriculum is not None or all(row.place is not None for row in rows)
    if has_places and config.packing:
        raise InputError(
            "packing sorts rows by length, so that they cannot be shown in the order of a "
            "curriculum: leave sft.packing off, or the stage 'order' out."
        )
    phases = config.phases or (Phase(where={}),)
    if config.packing:  # an epoch of it, which the trainer shuffles
        phases = (Phase(where={}, epochs=1.0),)
    found = Plan([row.encoded for row in rows], order=[], n_rows=len(rows))
    shown: list[int] = []
    for number, phase in enumerate(phases):
        one = _phase(rows, number, phase, config, Random(f"{seed} {number}"), has_places=has_places)
        share = config.plain.share if config.plain is not None else 0.0
        share = share if phase.plain is None else phase.plain
        tokens = sum(len(rows[place].encoded.ids) for place in one)
        texts = pieces.take(tokens * share / (1 - share)) if pieces is not None and share else []
        shown += spread(one, [len(rows) + place for place in texts])
        found.rates += [(phase.learning_rate or config.rate) / config.rate] * (
            len(one) + len(texts)
        )
        if config.phases:
            plain = f" and {len(texts)} pieces of plain text" if texts else ""
            rate = f", learning rate {phase.learning_rate:g}" if phase.learning_rate else ""
            rows_shown = f"{len(one)} times a row ({len(set(one))} rows)"
            found.said.append(f"Phase {number + 1} shows {rows_shown}{plain}{rate}.")
    if pieces is not None:
        found.examples += pieces.examples
        found.plain_tokens = sum(len(found.examples[at].ids) for at in shown if at >= len(rows))
        if pieces.times:
            found.said.append(
                "There is less plain text than its share: it is shown more than once."
            )
    if config.packing:
        examples = [found.examples[at] for at in shown]
        return Plan(
            examples,
            said=found.said,
            plain_tokens=found.plain_tokens,
            epochs=config.epochs,
        )
    found.order = shown
    return found


def _phase(
    rows: Sequence[Example],
    number: int,
    phase: Phase,
    config: Config,
    rng: Random,
    *,
    has_places: bool,
) -> list[int]:
    """The places of the rows that a phase shows, in its order, epoch after epoch."""
    mine = [at for at, row in enumerate(rows) if not config.phases or number in row.phases]
    drawn = min(best(len(mine), phase.share), phase.cap or len(mine))
    if not sum(rows[at].copies for at in mine):
        raise InputError(
            f"sft.phases: phase {number + 1} shows no row that can be learned from and is not held "
            f"out: none has {_where(phase)}."
        )
    if drawn < len(mine):
        mine = sorted(rng.sample(mine, drawn))
    mine = [at for at in mine for _ in range(rows[at].copies)]
    wanted = max(round(len(mine) * (phase.epochs or config.epochs)), 1)
    if config.max_steps is not None and not config.phases and not config.packing:
        wanted = config.max_steps * config.batch
    shown: list[int] = []
    while len(shown) < wanted:
        rng.shuffle(mine)
        shown += in_order(mine, rows, config) if has_places else mine
    return shown[:wanted]


def _where(phase: Phase) -> str:
    told = (f"{column} {' or '.join(values)}" for column, values in phase.where.items())
    return ", ".join(told) or "a place in it"


def in_order(places: Sequence[int], rows: Sequence[Example], config: Config) -> list[int]:
    """Rows from easy to hard; of equal ones that which came first, and those of no number last."""
    is_falling = config.curriculum is not None and config.curriculum.descending

    def key(at: int) -> tuple[bool, float]:
        place = rows[at].place
        return place is None, 0.0 if place is None else -place if is_falling else place

    return sorted(places, key=key)


def spread(rows: Sequence[Any], texts: Sequence[Any]) -> list[Any]:
    """Texts among rows, as evenly as can be, both in their own order.

    >>> spread([1, 2, 3, 4], ["a", "b"])
    [1, 'a', 2, 3, 'b', 4]
    """
    found: list[Any] = []
    for number, text in enumerate(texts):
        until = (2 * number + 1) * len(rows) // (2 * len(texts))
        found += rows[len(found) - number : until]
        found.append(text)
    return found + list(rows[len(found) - len(texts) :])
