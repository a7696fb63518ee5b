"""Whether an adapter is one over a given base, told from its headers: no weight is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.train.loading import loading

WEIGHTS = "adapter_model.safetensors"
LORA = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight$")


def check_adapter(adapter: Path, base: Path) -> None:
    """Raise `InputError` where the adapter has parts for layers that the base has not so.

    Of LoRA and its kin each layer is looked at: whether it is there, and as wide. Of the others,
    which change no layer, the widths that the adapter's own configuration names.
    """
    if not (adapter / "adapter_config.json").is_file():
        return  # a bottleneck's: who loads it looks at it
    import torch
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    with loading(base):
        described = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(described)  # type: ignore[no-untyped-call]
    modules = dict(model.named_modules())
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    wide = config.get("token_dim")
    if wide is not None and (widths := _widths(described)) and wide not in widths:
        raise _other(adapter, base, f"it is for a width of {wide}, and the base has {widths[0]}")
    with loading(adapter), safe_open(adapter / WEIGHTS, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name, shape in sorted(shapes.items()):
        found = LORA.match(name)
        if found is None:
            continue
        module = modules.get(found["module"])
        if module is None:
            raise _other(adapter, base, f"the base has no layer {found['module']}")
        inner = getattr(module, "weight", None)
        if inner is None or len(shape) != 2 or inner.ndim != 2:
            continue
        is_embedding = isinstance(module, torch.nn.Embedding)
        side = shape[1] if found["side"] == "A" else shape[0]
        there = inner.shape[1] if found["side"] == "A" else inner.shape[0]
        if not is_embedding and side != there:
            raise _other(adapter, base, f"{found['module']} is {side} wide in it, not {there}")


def _widths(described: Any) -> tuple[int, ...]:  # noqa: ANN401 - a configuration of any kind
    """How wide the base's tokens are, and its keys, which prefixes stand before."""
    hidden = getattr(described, "hidden_size", None)
    heads, keys = (
        getattr(described, name, None) for name in ("num_attention_heads", "num_key_value_heads")
    )
    if not isinstance(hidden, int):
        return ()
    both = isinstance(heads, int) and isinstance(keys, int)
    return (hidden, hidden // heads * keys) if both and heads and keys else (hidden,)


def _other(adapter: Path, base: Path, why: str) -> InputError:
    return InputError(
        f"the adapter {adapter} is of another base than {base}: {why}. Name the base that it was "
        "trained on, which its adapter_config.json calls base_model_name_or_path."
    )
