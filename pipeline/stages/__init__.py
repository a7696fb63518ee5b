"""The stages, one file each. A new stage is its file, its template, its test and a line here."""

from __future__ import annotations

from pipeline.stage import Stage
from pipeline.stages import (
    backtranslate,
    bootstrap,
    classify,
    decontaminate,
    dedup,
    embed,
    export,
    instances,
    one_call,
    read_input,
    reformulate,
    respond,
    semantic,
    unnatural,
)
from pipeline.stages import filter as filter_stage

STAGES: tuple[Stage, ...] = (
    read_input.STAGE,
    bootstrap.STAGE,
    classify.STAGE,
    instances.STAGE,
    one_call.STAGE,
    unnatural.STAGE,
    reformulate.STAGE,
    respond.STAGE,
    backtranslate.STAGE,
    filter_stage.STAGE,
    dedup.STAGE,
    embed.STAGE,
    semantic.STAGE,
    decontaminate.STAGE,
    export.STAGE,
)
