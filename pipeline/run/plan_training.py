"""What a plan says of a stage that trains: rows, steps, base, what is trained, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from filters.share import best
from pipeline.recipe import Step
from pipeline.run.roles import Model
from pipeline.train import described, memory
from pipeline.train.groups import Phase
from pipeline.train.settings import Config

READS = 2048
"""Tokens of a row that are read where neither setting nor base says it."""


def about_training(step: Step, base: Model | None, rows: float, *, is_mixed: bool) -> Iterator[str]:
    """A sentence each; `rows` are those that come to the stage, as far as a plan can tell.

    `is_mixed` says that a stage before draws a mixture of them.
    """
    config = step.config
    assert isinstance(config, Config)
    trained = round(rows * (1 - config.validation))
    steps = max(math.ceil(sum(_shown(config, trained)) / config.batch), 1)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps) if config.phases else config.max_steps
    yield (
        f"{step.name}: about {trained:,} rows to train on and {round(rows) - trained:,} held out, "
        f"{steps:,} steps of {config.batch} rows, method {config.method}"
    )
    if left_out := list(_left_out(config, is_mixed=is_mixed)):
        yield f"{step.name}: not counted: {'; '.join(left_out)}"
    if base is None:
        yield f"{step.name}: no base is named ({step.name}.base): a tiny one is made for the run"
        return
    found = memory.read_base(Path(base.uri.folder)) if base.uri.folder else None
    if found is None:
        yield f"{step.name}: how much memory it takes is known once {base.uri.place} is here"
        return
    numbers = memory.trained(found, config)
    which = "" if numbers is None else f", and {numbers:,} numbers beside them are trained"
    if config.method == "full":
        which = ", and all are trained"
    yield f"{step.name}: the base {base.uri.place} has {found.numbers:,} weights{which}"
    longest = _longest(config, Path(base.uri.folder))
    forms = (True, False) if config.bf16 is None else (config.bf16,)
    sizes = [
        f"{memory.gib(memory.need(found, config, longest, in_16_bits=one).total)} "
        f"{'in bfloat16, as on a GPU' if one else 'in float32, as on a processor'}"
        for one in forms
    ]
    row = f"where the longest row has {longest:,} tokens"
    yield f"{step.name}: at least {', or '.join(sizes)}, {row}"


def _shown(config: Config, trained: int) -> Iterator[int]:
    """How many rows each phase shows, where every row meets its `where`."""
    for phase in config.phases or (Phase(where={}),):
        drawn = min(best(trained, phase.share), phase.cap or trained)
        yield max(round(drawn * (phase.epochs or config.epochs)), 1)


def _left_out(config: Config, *, is_mixed: bool) -> Iterator[str]:
    """What may make other steps of a training than those that are told."""
    if is_mixed:
        yield "how many rows the mixture draws, and how often"
    if any(phase.where for phase in config.phases or ()):
        yield "which rows meet the 'where' of a phase (all are taken to)"
    if config.plain is not None and (config.max_steps is None or config.phases):
        yield "the plain text, which takes steps of its own"
    if config.packing and config.max_steps is None:
        yield "how many rows fit into a pack: steps are fewer"
    if config.stopping is not None:
        yield "that it may end early"


def _longest(config: Config, folder: Path) -> int:
    """The tokens of the longest row that can be."""
    return min(config.max_length or READS, described.positions(folder) or READS)
