"""What a base's `config.json` says of it, by whatever names its kind has for that. Needs no torch.

GPT-2 and its kin have names of their own, and a model that reads pictures as well describes the one
that reads text apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BOTTLENECK = "bottleneck_config.json"
"""What describes an adapter that PEFT has none of (`pipeline.train.bottleneck`)."""
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def positions(base: Path) -> int | None:
    """How many tokens a base reads at most; null where it does not say."""
    return _number(base, POSITIONS)


def layers(base: Path) -> int | None:
    """How many blocks a base has; null where it does not say."""
    return _number(base, LAYERS)


def _number(base: Path, names: tuple[str, ...]) -> int | None:
    """The first whole number above 0 under one of the names, of the text's model before others."""
    told: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    apart = told.get("text_config")
    for one in (apart if isinstance(apart, dict) else {}, told):
        for name in names:
            if isinstance(one.get(name), int) and one[name] > 0:
                return int(one[name])
    return None
