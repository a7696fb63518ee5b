"""Whether an adapter is one over a given base, told from its headers: no weight is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.train.loading import loading, without_weights

WEIGHTS = "adapter_model.safetensors"
PART = re.compile(
    r"^base_model\.model\.(?P<module>.+)\."
    r"(?P<kind>lora_(?P<side>[AB])(?:\.\w+)?(?:\.weight)?|fourierft_spectrum|adaption_prompt)$"
)
"""The name of a part of an adapter: of LoRA and its kin, of FourierFT, of LLaMA-Adapter."""


def check_adapter(adapter: Path, base: Path) -> None:
    """Raise `InputError` where the adapter has parts for layers that the base has not so.

    Each layer that it changes is looked at: whether it is there, and as wide, where the adapter
    tells. Where it names the kinds of layers that it changes, none of them may be without a part.
    Of those that change no layer the widths are compared that their own configuration names.
    """
    model = without_weights(base)
    described = model.config
    if not (adapter / "adapter_config.json").is_file():
        _check_bottleneck(adapter, base, model)
        return
    modules = dict(model.named_modules())
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    wide = config.get("token_dim")
    if wide is not None and (widths := _widths(described)) and wide not in widths:
        raise _other(adapter, base, f"it is for a width of {wide}, and the base has {widths[0]}")
    changed = set()
    for name, shape in _shapes(adapter, adapter / WEIGHTS):
        found = PART.match(name)
        if found is None:
            continue
        module = modules.get(found["module"])
        changed.add(found["module"])
        if module is None:
            raise _other(adapter, base, f"the base has no layer {found['module']}")
        if found["kind"] == "adaption_prompt":
            there, side = _widths(described)[:1], shape[-1]
        else:
            there, side = _wide(module, shape, found["side"])
        if there and side not in there:
            raise _other(adapter, base, f"{found['module']} is {side} wide in it, not {there[0]}")
    if lacking := sorted(_wanted(config, modules) - changed) if changed else []:
        raise _other(adapter, base, f"it has nothing for the base's layer {lacking[0]}")


def _shapes(adapter: Path, weights: Path) -> list[tuple[str, tuple[int, ...]]]:
    """The names and shapes in a file of an adapter, from its header."""
    from safetensors import safe_open

    with loading(adapter), safe_open(weights, framework="pt") as file:
        return [(name, tuple(file.get_slice(name).get_shape())) for name in sorted(file.keys())]


def _wide(
    module: Any,  # noqa: ANN401 - a layer of any kind
    shape: tuple[int, ...],
    side: str | None,
) -> tuple[tuple[int, ...], int]:
    """How wide a layer is on one side of LoRA, () if unknown, and how wide the adapter's part."""
    import torch

    inner = getattr(module, "weight", None)
    if inner is None or len(shape) != 2 or inner.ndim != 2:
        return (), 0
    if side is None or isinstance(module, torch.nn.Embedding):
        return (), 0
    sizes = tuple(inner.shape) if isinstance(module, torch.nn.Linear) else tuple(inner.shape)[::-1]
    return ((sizes[1],), shape[1]) if side == "A" else ((sizes[0],), shape[0])


def _wanted(config: Mapping[str, Any], modules: Mapping[str, Any]) -> set[str]:
    """The layers of a base that an adapter of such a configuration changes; none if not told."""
    targets = config.get("target_modules")
    is_partial = any(config.get(name) for name in ("layers_to_transform", "exclude_modules"))
    if not isinstance(targets, list) or is_partial or config.get("target_parameters"):
        return set()
    return {name for name in modules if any(f".{name}".endswith(f".{one}") for one in targets)}


def _check_bottleneck(adapter: Path, base: Path, model: Any) -> None:  # noqa: ANN401 - of any kind
    """Raise `InputError` where bottleneck adapters are of a model of another shape."""
    from pipeline.train import bottleneck

    bottleneck.insert(model, bottleneck.shape_in(adapter))
    there = {name: tuple(one.shape) for name, one in bottleneck.weights(model).items()}
    if there != dict(_shapes(adapter, adapter / bottleneck.WEIGHTS)):
        raise _other(adapter, base, "its layers are others, or as wide as none of the base's")


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
