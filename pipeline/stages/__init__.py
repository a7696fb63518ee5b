"""The stages, one file each. A new stage is its file, its template, its test and a line here."""

from __future__ import annotations

from pipeline.stage import Stage
from pipeline.stages import (
    backtranslate,
    balance,
    bootstrap,
    classify,
    clean,
    compare,
    decontaminate,
    dedup,
    difficulty,
    embed,
    evolve,
    export,
    instances,
    keep,
    novelty,
    one_call,
    rate,
    read_input,
    reformulate,
    respond,
    seed_rows,
    semantic,
    toxicity,
    unnatural,
)
from pipeline.stages import filter as filter_stage
from pipeline.stages import format as format_stage

STAGES: tuple[Stage, ...] = (
    read_input.STAGE,
    seed_rows.STAGE,
    bootstrap.STAGE,
    classify.STAGE,
    instances.STAGE,
    evolve.STAGE,
    one_call.STAGE,
    unnatural.STAGE,
    reformulate.STAGE,
    respond.STAGE,
    backtranslate.STAGE,
    novelty.STAGE,
    toxicity.STAGE,
    filter_stage.STAGE,
    clean.STAGE,
    dedup.STAGE,
    embed.STAGE,
    semantic.STAGE,
    decontaminate.STAGE,
    rate.STAGE,
    keep.STAGE,
    compare.STAGE,
    difficulty.STAGE,
    balance.STAGE,
    format_stage.STAGE,
    export.STAGE,
)
