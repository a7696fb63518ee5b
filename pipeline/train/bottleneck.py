"""Bottleneck adapters: small layers, narrow in the middle, beside a model's own, which stay frozen.

Serial (Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751,
section 2.1): after attention and after the feed-forward layer, h = h + s · up(f(down(h))). Parallel
(He et al. 2022, "Towards a Unified View of Parameter-Efficient Transfer Learning",
arXiv:2110.04366, section 4): h = h + s · up(f(down(x))), with x what that layer was given; there
scaled by 4, beside the feed-forward layer. Both are put in before the residual sum, begin as zero,
and have biases. Unlike Houlsby's, layer norms stay as they are.

They are not linear, so that nothing can be merged into the base, and no server of models reads
them. In a notebook:

    from pipeline.train.bottleneck import load
    model = load("Qwen/Qwen3-1.7B", "runs/first/model/adapter")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import InputError
from pipeline.train.described import BOTTLENECK

WEIGHTS = "bottleneck.safetensors"
NAME = "bottleneck"
"""What an adapter is called in the layer that it is put into."""
PARTS = {
    "attention": ("self_attn", "attn", "attention", "self_attention"),
    "mlp": ("mlp", "feed_forward", "ffn", "block_sparse_moe"),
}
"""What the two layers of a block are called in the models that there are."""
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "silu": nn.functional.silu,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What adapters look like, and where they are; `layers` are blocks from 0, null is all."""

    form: str
    width: int
    activation: str
    scale: float
    places: tuple[str, ...]
    dropout: float = 0.0
    layers: tuple[int, ...] | None = None


class Bottleneck(nn.Module):
    """One adapter; of float32, whatever its layer is of. `size` is the model's width."""

    def __init__(self, size: int, shape: Shape) -> None:
        """Begin as zero: a model is at first what it was without."""
        super().__init__()
        self.shape = shape
        self.down = nn.Linear(size, shape.width)
        self.up = nn.Linear(shape.width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """What is to be added, in the type of what is given."""
        narrow = ACTIVATIONS[self.shape.activation](self.down(given.to(self.down.weight.dtype)))
        narrow = nn.functional.dropout(narrow, self.shape.dropout, self.training)
        wide: torch.Tensor = self.up(narrow)
        return (self.shape.scale * wide).to(given.dtype)


def insert(model: nn.Module, shape: Shape) -> None:
    """Freeze a causal language model and put adapters into its blocks.

    Raises `InputError` where blocks have no layer that is known, or `layers` names none of them.
    """
    model.requires_grad_(requires_grad=False)
    blocks = _blocks(model)
    wanted = range(len(blocks)) if shape.layers is None else shape.layers
    if outside := [number for number in wanted if number >= len(blocks)]:
        raise InputError(
            f"the base has {len(blocks)} layers, from 0, and sft.layers names {outside[0]}."
        )
    size = int(model.config.get_text_config().hidden_size)  # type: ignore[operator, union-attr]
    for number in wanted:
        for place in shape.places:
            layer = _part(blocks[number], place)
            assert layer is not None
            adapter = Bottleneck(size, shape).to(next(layer.parameters()).device)
            layer.add_module(NAME, adapter)
            layer.register_forward_hook(_add, with_kwargs=True)


def _add(
    layer: nn.Module,
    positional: tuple[Any, ...],
    named: dict[str, Any],
    out: Any,  # noqa: ANN401 - a layer's own: a tensor, or a tuple that begins with one
) -> Any:  # noqa: ANN401 - the same
    """Add what the adapter of a layer says to what the layer says."""
    adapter = layer.get_submodule(NAME)
    assert isinstance(adapter, Bottleneck)
    first = out[0] if isinstance(out, tuple) else out
    if adapter.shape.form == "parallel":
        given = positional[0] if positional else named["hidden_states"]
    else:
        given = first
    first = first + adapter(given)
    return (first, *out[1:]) if isinstance(out, tuple) else first


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model, in their order: the first list of them."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module):
            blocks = list(module)
            if all(_part(block, place) is not None for block in blocks for place in PARTS):
                return blocks
    known = "; ".join(f"{place}: {', '.join(names)}" for place, names in PARTS.items())
    raise InputError(
        f"the blocks of the base ({type(model).__name__}) have no layers of names that are known "
        f"({known}): choose another sft.method than a bottleneck."
    )


def _part(block: nn.Module, place: str) -> nn.Module | None:
    return next((found for name in PARTS[place] if (found := getattr(block, name, None))), None)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the adapters in a model, by name."""
    return {name: one for name, one in model.state_dict().items() if f".{NAME}." in name}


def save(model: nn.Module, folder: Path, *, base: str) -> None:
    """Write the adapters in a model, and of which `base` they are, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: one.detach().cpu().contiguous() for name, one in weights(model).items()}
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})
    shape = next(one.shape for one in model.modules() if isinstance(one, Bottleneck))
    told = {"method": NAME, "base_model_name_or_path": base} | asdict(shape)
    (folder / BOTTLENECK).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read(model: nn.Module, folder: Path) -> None:
    """Give the adapters in a model the weights that were saved; `InputError` if none fit."""
    saved, there = load_file(folder / WEIGHTS), weights(model)
    is_same = saved.keys() == there.keys() and all(
        saved[name].shape == one.shape for name, one in there.items()
    )
    if not is_same:
        raise InputError(f"{folder} holds adapters of another base, or of another shape.")
    model.load_state_dict(saved, strict=False)


def shape_in(folder: Path) -> Shape:
    """The shape of the adapters that a folder holds; `InputError` where there are none."""
    path = folder / BOTTLENECK
    if not path.is_file():
        raise InputError(f"{folder} has no {BOTTLENECK}: it holds no bottleneck adapters.")
    told = json.loads(path.read_text(encoding="utf-8"))
    of = {name: told[name] for name in Shape.__dataclass_fields__}
    lists = {name: tuple(of[name]) for name in ("places", "layers") if of[name] is not None}
    return Shape(**(of | lists))


def load(base: str | Path, folder: str | Path) -> nn.Module:
    """A base with the bottleneck adapters that were trained on it, ready to answer.

    `base` is a folder or a model of the hub, `folder` the `model/adapter` of a run. Raises
    `InputError` where the folder holds no such adapters, or ones of another base.
    """
    from transformers import AutoModelForCausalLM

    shape = shape_in(Path(folder))
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base)
    insert(model, shape)
    read(model, Path(folder))
    return model.train(mode=False)
