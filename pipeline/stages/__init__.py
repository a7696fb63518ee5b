"""The stages, one file each. A new stage is its file, its template, its test and a line here."""

from __future__ import annotations

from pipeline.stage import Stage
from pipeline.stages import (
    bootstrap,
    classify,
    compare,
    decontaminate,
    dedup,
    embed,
    evolve,
    export,
    instances,
    keep,
    novelty,
    rate,
    read_input,
    seed_rows,
    semantic,
)
from pipeline.stages import filter as filter_stage

STAGES: tuple[Stage, ...] = (
    read_input.STAGE,
    seed_rows.STAGE,
    bootstrap.STAGE,
    classify.STAGE,
    instances.STAGE,
    evolve.STAGE,
    novelty.STAGE,
    filter_stage.STAGE,
    dedup.STAGE,
    embed.STAGE,
    semantic.STAGE,
    decontaminate.STAGE,
    rate.STAGE,
    keep.STAGE,
    compare.STAGE,
    export.STAGE,
)
