"""Settings of a fine-tuning: the method, the data's order, the optimizer, and what cannot be had.

They are a stage's (`sft`), and stand here because training runs where stages cannot be imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.stage import DECISION, OPERATIONAL, StageConfig, TogetherError
from pipeline.train.groups import Bottleneck, Curriculum, Distributed, Phase, Plain, Stopping

METHODS = (
    *("lora", "rslora", "dora", "pissa", "adalora", "qlora", "fourierft"),
    *("prefix", "prefix_mlp", "prompt", "p_tuning", "p_tuning_lstm", "llama_adapter"),
    *("bottleneck", "bottleneck_parallel", "full"),
)
WITH_ALPHA = ("lora", "rslora", "dora", "pissa", "adalora", "qlora")
BOTTLENECKS = ("bottleneck", "bottleneck_parallel")
PROMPTS = ("prefix", "prefix_mlp", "prompt", "p_tuning", "p_tuning_lstm")
"""Methods that put virtual tokens before a text."""
RATES = {"full": 2e-5, "prompt": 3e-2, "p_tuning": 1e-3, "p_tuning_lstm": 1e-3, "fourierft": 1e-3}
FOURIER_PER_RANK = 64
"""Frequencies of FourierFT for each unit of `r`."""
LAYERS = r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"
ADAPTER_RATE = 2e-4
"""Ten times that of full fine-tuning."""
MOST_BITS = 2.0
"""Bits a trainable parameter can hold; data of more is not learned by heart, nor all of it."""


class Config(StageConfig):
    """Settings of `sft`. The learning rate is the method's own where it is null.

    `base` is a folder or a model of the hub; null is `tiny`, a small model made for the run, which
    shows the way and is worth nothing. `layers` limits an adapter to some ("8-15", "0,4,8-15").
    `batch` is the rows of one step, of which `device_batch` are worked at together, by each of
    `processes` where several share them. `loss` is over the answers, or over all text.
    `validation` is the share of root tasks that is held out. `tensorboard` is null: where it is
    installed.
    """

    base: Annotated[str | None, DECISION] = None
    method: Annotated[Literal[METHODS], DECISION] = "lora"  # type: ignore[valid-type]
    r: Annotated[int, Field(ge=1), DECISION] = 16
    alpha: Annotated[float | None, Field(gt=0), DECISION] = None
    dropout: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.0
    targets: Annotated[str | tuple[str, ...], DECISION] = "all-linear"
    layers: Annotated[str | None, Field(pattern=LAYERS), DECISION] = None
    virtual_tokens: Annotated[int, Field(ge=1), DECISION] = 20
    epochs: Annotated[float, Field(gt=0), DECISION] = 3.0
    max_steps: Annotated[int | None, Field(ge=1), DECISION] = None
    learning_rate: Annotated[float | None, Field(gt=0), DECISION] = None
    schedule: Annotated[Literal["cosine", "linear", "constant"], DECISION] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.03
    optimizer: Annotated[Literal["adamw", "adafactor", "adamw_8bit"], DECISION] = "adamw"
    weight_decay: Annotated[float, Field(ge=0), DECISION] = 0.0
    clip: Annotated[float, Field(gt=0), DECISION] = 1.0
    batch: Annotated[int, Field(ge=1), DECISION] = 16
    device_batch: Annotated[int, Field(ge=1), OPERATIONAL] = 8
    max_length: Annotated[int | None, Field(ge=8), DECISION] = None
    loss: Annotated[Literal["answers", "all"], DECISION] = "answers"
    packing: Annotated[bool, DECISION] = False
    neftune_alpha: Annotated[float | None, Field(gt=0), DECISION] = None
    checkpointing: Annotated[bool, OPERATIONAL] = False
    bf16: Annotated[bool | None, DECISION] = None
    validation: Annotated[float, Field(ge=0, lt=1), DECISION] = 0.05
    save_every: Annotated[int, Field(ge=1), OPERATIONAL] = 100
    merge: Annotated[bool, OPERATIONAL] = False
    processes: Annotated[int, Field(ge=1), OPERATIONAL] = 1
    tensorboard: Annotated[bool | None, OPERATIONAL] = None
    bottleneck: Bottleneck | None = None
    stopping: Stopping | None = None
    curriculum: Curriculum | None = None
    plain: Plain | None = None
    phases: Annotated[tuple[Phase, ...] | None, Field(min_length=1), DECISION] = None
    distributed: Distributed | None = None

    @field_validator("curriculum", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        """A column alone stands for what is sorted by it."""
        return {"by": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _can_work(self) -> Config:
        """Refuse, by name, what is known not to work together; all of it at once."""
        refused = [*self._refused_of_method(), *self._refused_of_data(), *self._refused_of_share()]
        if refused:
            raise TogetherError(refused)
        return self

    def _refused_of_method(self) -> Iterator[str]:
        """What a method does not go with. Each names the settings that it is of."""
        method = f"method {self.method}"
        if self.method in PROMPTS and self.packing:
            yield (
                f"{method} and packing: packed rows would see each other (PEFT takes no positions "
                "with virtual tokens); leave packing off"
            )
        if self.method in ("prefix", "prefix_mlp", "llama_adapter") and self.checkpointing:
            yield f"{method} and checkpointing: its keys do not come back"
        if self.merge and self.method in (*PROMPTS, *BOTTLENECKS, "llama_adapter", "full"):
            yield f"{method} and merge: it has nothing to merge"
        if "lm_head" in self.targets and not isinstance(self.targets, str):
            yield "targets and lm_head: TRL takes a loss without it (its fused head)"
        if self.bottleneck is not None and self.method not in BOTTLENECKS:
            theirs = " and ".join(BOTTLENECKS)
            yield f"{method} and bottleneck: it counts under the methods {theirs}"
        if self.layers is not None and self.method in (*PROMPTS, "llama_adapter", "full"):
            yield f"{method} and layers: it has none in single layers"

    def _refused_of_data(self) -> Iterator[str]:
        """What rows, and their order, do not go with."""
        if self.stopping is not None and not self.validation:
            yield "stopping looks at the loss on rows held out: set a validation above 0"
        if self.packing and (self.curriculum is not None or self.phases is not None):
            yield (
                "packing and an order: packing sorts rows by length; leave packing off, or "
                "curriculum and phases"
            )
        if self.plain is None and any(phase.plain for phase in self.phases or ()):
            yield "a phase has a share of plain text: name its file as plain.file"

    def _refused_of_share(self) -> Iterator[str]:
        """What several processes cannot share."""
        strategy = None if self.distributed is None else self.distributed.strategy
        if strategy in ("fsdp", "deepspeed"):
            if self.method in (*BOTTLENECKS, "qlora", "llama_adapter", "adalora"):
                yield f"method {self.method} and {strategy}: it is not laid in shards"
            if self.merge:
                yield f"merge and {strategy}: no process has all weights; merge later"
        if self.processes > 1 and self.batch % self.processes:
            yield "batch is no multiple of processes"
        if self.batch % min(self.device_batch, self.batch):
            yield "batch is no multiple of device_batch"

    @property
    def rate(self) -> float:
        """The learning rate, as set or as the method wants it."""
        return self.learning_rate or RATES.get(self.method, ADAPTER_RATE)

    @property
    def scaling(self) -> float | None:
        """The alpha of LoRA and its kin, as set or twice the rank; null where there is none."""
        return (self.alpha or 2.0 * self.r) if self.method in WITH_ALPHA else None

    @property
    def is_quantized(self) -> bool:
        """Whether weights or the optimizer's state are held in few bits."""
        return self.method == "qlora" or self.optimizer == "adamw_8bit"

    @property
    def layer_numbers(self) -> list[int] | None:
        """The layers that get an adapter, from 0; null is all."""
        if self.layers is None:
            return None
        found: set[int] = set()
        for part in self.layers.split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
        return sorted(found)
