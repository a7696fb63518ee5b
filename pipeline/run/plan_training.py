"""What a plan says of a stage that trains: rows, steps, base, what is trained, memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from pipeline.recipe import Step
from pipeline.run.roles import Model
from pipeline.train import memory
from pipeline.train.settings import Config

READS = 2048
"""Tokens of a row that are read where neither setting nor base says it."""


def about_training(step: Step, base: Model | None, rows: float) -> Iterator[str]:
    """A sentence each; `rows` are those that come to the stage, as far as a plan can tell."""
    config = step.config
    assert isinstance(config, Config)
    trained = round(rows * (1 - config.validation))
    steps = config.max_steps or max(math.ceil(trained / config.batch * config.epochs), 1)
    yield (
        f"{step.name}: about {trained:,} rows to train on and {round(rows) - trained:,} held out, "
        f"{steps:,} steps of {config.batch} rows, method {config.method}"
    )
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


def _longest(config: Config, folder: Path) -> int:
    """The tokens of the longest row that can be."""
    described = json.loads((folder / "config.json").read_bytes())
    reads = int(described.get("max_position_embeddings") or READS)
    return min(config.max_length or READS, reads)
