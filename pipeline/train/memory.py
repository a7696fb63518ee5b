"""How much memory a training takes, by the shapes of its base's weights, before one is loaded.

What is counted is what has to be there at one time: the weights as they are loaded, a gradient and
the optimizer's state for every number that is trained, and what the layers keep of the forward pass
for the backward one. What a library takes for a moment beside it is not counted, so that an
estimate is rather too low than too high, and nothing that would have worked is refused: with 4
layers of 1,024 on a processor it was 0.25 (LoRA with checkpointing) to 0.8 (all weights) of what a
training took beyond its libraries, and never more.

Shapes are read from the headers of the safetensors files, each a few kilobytes; numbers that they
do not tell come from `config.json`. Needs no torch.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.train.settings import FOURIER_PER_RANK, WITH_ALPHA, Config

LAYER = re.compile(r"\.(\d+)\.")
HEADS = ("embed", "lm_head", "wte", "wpe")
"""In the names of matrices that are no linear layer of a block."""
STATE = {"adamw": 8.0, "adafactor": 0.0, "adamw_8bit": 2.0}
"""Bytes of an optimizer's state a trained number; Adafactor keeps rows and columns alone."""
IN_FOUR_BITS = 0.516
"""Bytes a weight in nf4 with its constants, which are quantised once more."""
CHUNK = 256
"""Tokens whose logits are there at one time: TRL takes the loss in such chunks."""
UNLIMITED = 2**60
"""From here on a limit of a control group is none."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One linear layer of a block: its name, its block's number (null: none), inputs, outputs."""

    name: str
    layer: int | None
    into: int
    out_of: int


@dataclass(frozen=True, slots=True)
class Base:
    """A base by its shapes: all of its numbers, its linear layers, and how wide its blocks are."""

    numbers: int
    matrices: tuple[Matrix, ...]
    vocabulary: int
    width: int
    layers: int
    keys: int
    """The width of keys, and of values, of one layer."""

    @property
    def in_matrices(self) -> int:
        """Numbers in the linear layers, which quantisation is of."""
        return sum(one.into * one.out_of for one in self.matrices)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a training takes, by what they are for, and how many numbers it trains."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    trainable: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def read_base(folder: Path) -> Base | None:
    """The shapes of a base in a folder; null where they cannot be read or are of another kind."""
    try:
        described: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        found = [one for path in sorted(folder.glob("*.safetensors")) for one in _header(path)]
        heads = int(described["num_attention_heads"])
        width = int(described["hidden_size"])
        head = int(described.get("head_dim") or width // heads)
        matrices = tuple(
            Matrix(name, int(layer[1]) if (layer := LAYER.search(name)) else None, *shape[::-1])
            for name, shape in found
            if len(shape) == 2 and not any(one in name for one in HEADS)
        )
        return Base(
            numbers=sum(math.prod(shape) for _, shape in found),
            matrices=matrices,
            vocabulary=int(described["vocab_size"]),
            width=width,
            layers=int(described["num_hidden_layers"]),
            keys=int(described.get("num_key_value_heads") or heads) * head,
        )
    except (OSError, OverflowError, ValueError, KeyError, TypeError, struct.error):
        return None


def _header(path: Path) -> list[tuple[str, list[int]]]:
    """Names and shapes of the tensors of one file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tree: dict[str, Any] = json.loads(file.read(length))
    return [(name, one["shape"]) for name, one in tree.items() if name != "__metadata__"]


def trained(base: Base, config: Config) -> int | None:
    """How many numbers a method trains; null for one that is not counted here."""
    method, virtual, width = config.method, config.virtual_tokens, base.width
    if method == "full":
        return base.numbers
    chosen = [one for one in base.matrices if _is_chosen(one, config)]
    if method in WITH_ALPHA:
        more = {"dora": "out_of"}.get(method)
        extra = sum(one.out_of for one in chosen) if more else 0
        extra += config.r * len(chosen) if method == "adalora" else 0
        return extra + config.r * sum(one.into + one.out_of for one in chosen)
    if method == "fourierft":
        return FOURIER_PER_RANK * config.r * len(chosen)
    if method == "prefix":
        return virtual * base.layers * 2 * base.keys
    if method == "prompt":
        return virtual * width
    if method == "llama_adapter":
        return base.layers * (virtual * width + 1)
    return None


def _is_chosen(matrix: Matrix, config: Config) -> bool:
    """Whether a linear layer gets an adapter."""
    layers = config.layer_numbers
    if layers is not None and matrix.layer not in layers:
        return False
    if config.targets == "all-linear":
        return True
    names = [config.targets] if isinstance(config.targets, str) else config.targets
    return any(f".{name}.weight" in f".{matrix.name}" for name in names)


def need(base: Base, config: Config, longest: int, *, in_16_bits: bool) -> Need:
    """What a training takes whose longest row has `longest` tokens.

    With `in_16_bits` layers compute in bfloat16, and weights that are not trained are held so.
    """
    numbers = trained(base, config) or 0
    is_full = config.method == "full"
    each = 2 if in_16_bits and not is_full else 4
    weights = base.numbers * each
    if config.method == "qlora":
        weights = round((base.numbers - base.in_matrices) * each + base.in_matrices * IN_FOUR_BITS)
    weights += 0 if is_full else 4 * numbers
    tokens = min(config.device_batch, config.batch) * longest
    return Need(
        weights=weights,
        gradients=4 * numbers,
        optimizer=round(STATE[config.optimizer] * numbers),
        activations=tokens * _kept_a_token(base, config, 2 if in_16_bits else 4)
        + min(tokens, CHUNK) * base.vocabulary * 4,
        trainable=numbers,
    )


def _kept_a_token(base: Base, config: Config, each: int) -> int:
    """Bytes that all layers keep of one token: what goes into each matrix and what it gives.

    With checkpointing what goes into each layer, and one layer whole while it is worked at.
    """
    if not base.layers:
        return 0
    of_all = sum(one.out_of for one in base.matrices) + 4 * base.width * base.layers
    if config.checkpointing:
        return each * (base.width * base.layers + of_all // base.layers)
    return each * of_all


def free_on_host(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may still take of the host's memory; null where nobody says.

    The least of what the system has and of what the control groups leave, of this process and of
    those above it. Swap counts, and files in memory count as free.
    """
    found = [one for one in (_of_system(proc), *_of_groups(proc, groups)) if one is not None]
    return min(found, default=None)


def _of_system(proc: Path) -> int | None:
    try:
        text = (proc / "meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    told = dict(line.partition(":")[::2] for line in text.splitlines())
    kilobytes = [told[name].split()[0] for name in ("MemAvailable", "SwapFree") if name in told]
    return 1024 * sum(map(int, kilobytes)) if "MemAvailable" in told else None


def _of_groups(proc: Path, groups: Path) -> list[int | None]:
    """What is left below each limit: version 2, with the groups above, and version 1."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            own = groups / path.lstrip("/")
            places = [one for one in (own, *own.parents) if one.is_relative_to(groups)]
            found += [_left(one, "memory.max", "memory.current", "inactive_file") for one in places]
        elif "memory" in controllers.split(","):
            for place in (groups / "memory" / path.lstrip("/"), groups / "memory"):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                found.append(_left(place, *names))
    return found


def _left(folder: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        if most == "max" or int(most) >= UNLIMITED:
            return None
        taken = int((folder / used).read_text(encoding="ascii"))
        told = dict(
            line.split(maxsplit=1)
            for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        return int(most) - taken + int(told.get(cached, 0))
    except (OSError, ValueError):
        return None


def refusal(found: Need, free: int, *, where: str, config: Config) -> str | None:
    """Why a training does not fit, with the numbers and what to change; null where it may fit."""
    if found.total <= free:
        return None
    parts = {
        "weights": found.weights,
        "gradients": found.gradients,
        "the optimizer": found.optimizer,
        "activations": found.activations,
    }
    told = ", ".join(f"{name} {gib(size)}" for name, size in parts.items() if size)
    return (
        f"this training takes at least {gib(found.total)} ({told}), and {gib(free)} {where} free. "
        f"{_advice(found, config)}"
    )


def _advice(found: Need, config: Config) -> str:
    """What makes it smaller, by what takes most."""
    ways = []
    if found.activations * 2 > found.total:
        if config.device_batch > 1:
            ways.append("sft.device_batch=1")
        if not config.checkpointing:
            ways.append("sft.checkpointing=true")
        ways.append("a smaller sft.max_length")
    elif config.method == "full":
        ways += ["sft.method=lora", "sft.optimizer=adafactor"]
    elif config.method != "qlora":
        ways.append("sft.method=qlora")
    return f"Try {', '.join([*ways, 'a smaller base'])}, or a machine with more memory."


def gib(size: float) -> str:
    """Bytes for people.

    >>> gib(3 * 2**30), gib(1.26 * 2**30), gib(5 * 2**20)
    ('3.0 GiB', '1.3 GiB', '5 MiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
