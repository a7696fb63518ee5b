"""What is looked at before a weight is loaded: the base's kind, what it needs, what fits.

All of it is read from `config.json` and the headers of the weights; torch is asked for nothing but
the GPUs that are here and the memory that they have free.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.train import memory
from pipeline.train.arguments import is_bf16
from pipeline.train.encoding import ANSWERS, Encoder
from pipeline.train.loading import without_weights
from pipeline.train.methods import linear_names
from pipeline.train.prompt_ids import UnwritableError
from pipeline.train.settings import WITH_ALPHA, Config

ON_PROCESSORS = ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit")
"""Ways of holding weights in few bits that a processor reads as well."""


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise `InputError` where there is no row, none with an answer, or none that is not held out.

    A row has `turns` (role and content) and `held_out`.
    """
    if not rows:
        raise InputError(
            "there is no row to train on: those that were read were dropped by a stage before, or "
            "have neither text nor turns. Name their columns with  --set "
            "'import.columns={instruction: ..., output: ...}'."
        )
    if not any(
        turn["role"] == ANSWERS and turn["content"].strip() for row in rows for turn in row["turns"]
    ):
        raise InputError(
            f"none of {len(rows)} rows has an answer to learn. Where answers have a column of "
            "another name, say it with  --set 'import.columns={instruction: ..., output: ...}'."
        )
    if all(row["held_out"] for row in rows):
        raise InputError(
            f"all of {len(rows)} rows are held out: lower sft.validation, or give more rows."
        )


def about_context(rows: Sequence[Mapping[str, Any]], encoder: Encoder, most: int) -> str:
    """How many tokens of a row are read, and how many the shortest row has, in a sentence."""
    sizes = []
    for row in rows:
        with suppress(UnwritableError):
            sizes.append(len(encoder.encode(row["turns"]).ids))
    shortest = f", and the shortest row has {min(sizes)}" if sizes else ""
    return f"The base and sft.max_length let {most} tokens of a row be read{shortest}."


def check_kind(base: Path) -> None:
    """Raise `InputError` where a base brings code of its own, or needs a GPU that is not here."""
    import torch

    described: dict[str, Any] = json.loads((base / "config.json").read_bytes())
    kind = str(described.get("model_type"))
    if "auto_map" in described and not is_known(kind):
        raise InputError(
            f"the base {base} wants code of its own run (auto_map in config.json), as transformers "
            f"has no model of the kind {kind!r}. Code of a model is never run: name a base of a "
            "kind that transformers has."
        )
    quantized = described.get("quantization_config") or {}
    method = str(quantized.get("quant_method", "bitsandbytes"))
    if method not in ON_PROCESSORS and not torch.cuda.is_available():
        raise InputError(
            f"the base {base} is held in few bits by {method}, which needs a GPU, and there is "
            "none here. Name the same model with whole weights; sft.method=qlora holds it in four "
            "bits, also on a processor."
        )


def check_targets(base: Path, config: Config) -> None:
    """Raise `InputError` where layers are to get an adapter that the base has not."""
    if config.targets == "all-linear" or config.method not in (*WITH_ALPHA, "fourierft"):
        return
    names = [name for name, _ in without_weights(base).named_modules() if name]
    if isinstance(config.targets, str):
        lacking = (
            [] if any(re.fullmatch(config.targets, name) for name in names) else [config.targets]
        )
    else:
        lacking = [
            one
            for one in config.targets
            if not any(f".{name}".endswith(f".{one}") for name in names)
        ]
    if lacking:
        there = ", ".join(linear_names(base))
        raise InputError(
            f"sft.targets names {lacking[0]!r}, and the base {base} has no such layer; its linear "
            f"ones are {there}."
        )


def is_known(kind: str) -> bool:
    """Whether transformers itself has models of a kind (`model_type`)."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return kind in CONFIG_MAPPING


def check_room(base: Path, config: Config, longest: int) -> None:
    """Raise `InputError` where a training surely takes more memory than is free.

    On a machine with GPUs all that are seen count together, as the base is spread over them. Where
    several processes train together, or the shapes are not known, nothing is said.
    """
    import torch

    shapes = memory.read_base(base)
    if shapes is None or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    found = memory.need(shapes, config, longest, in_16_bits=is_bf16(config))
    if torch.cuda.is_available():
        n = torch.cuda.device_count()
        free: int | None = sum(torch.cuda.mem_get_info(number)[0] for number in range(n))
        where = "of the GPU's memory are" if n == 1 else f"of the memory of {n} GPUs are"
    else:
        free, where = memory.free_on_host(), "of this machine's memory are"
    if free is None:
        return
    refused = memory.refusal(found, free, where=where, config=config)
    if refused:
        raise InputError(refused)
