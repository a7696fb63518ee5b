"""Settings of a fine-tuning that belong together, each a group of `sft` that is null by default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.stage import DECISION, OPERATIONAL, Settings


class Bottleneck(Settings):
    """`sft.bottleneck`: what the adapters of the two bottleneck methods look like.

    `places` are the layers of a block that get one, `scale` what their say is multiplied by; where
    null, serial ones are after both layers and count once, parallel ones beside the feed-forward
    layer and count four times, as in the papers.
    """

    width: Annotated[int, Field(ge=1), DECISION] = 64
    activation: Annotated[Literal["gelu", "relu", "silu"], DECISION] = "gelu"
    places: Annotated[
        tuple[Literal["attention", "mlp"], ...] | None, Field(min_length=1), DECISION
    ] = None
    scale: Annotated[float | None, Field(gt=0), DECISION] = None


class Stopping(Settings):
    """`sft.stopping`: end early, once `patience` measurements have brought nothing better.

    The loss on rows held out is measured each `every` steps (null: a tenth of all), and is better
    where it is lower by more than `least`. What comes out is the model of the best measurement.
    """

    patience: Annotated[int, Field(ge=1), DECISION] = 3
    least: Annotated[float, Field(ge=0), DECISION] = 0.0
    every: Annotated[int | None, Field(ge=1), DECISION] = None


class Curriculum(Settings):
    """`sft.curriculum`: rows by the number in a column, lowest first; of equal ones by lot."""

    by: Annotated[str, Field(min_length=1), DECISION]
    descending: Annotated[bool, DECISION] = False


class Plain(Settings):
    """`sft.plain`: plain text, as in pre-training, of which `share` of all shown tokens are.

    `file` is Parquet or JSONL with a column `text`, or a text with an empty line between documents.
    All of it is learned, without a chat template.
    """

    file: Annotated[str, Field(min_length=1), OPERATIONAL]  # its content is identity
    share: Annotated[float, Field(gt=0, lt=1), DECISION] = 0.1


class Phase(Settings):
    """One of `sft.phases`: which rows are shown in it, how often, and how fast is learned.

    Rows are those whose columns have one of the values of `where`; of these a `share`, and no more
    than `cap`, drawn by lot. `plain` is the share of plain text (null: that of `sft.plain`);
    `epochs` and `learning_rate` are the training's own where they are null.
    """

    where: Annotated[dict[str, tuple[str, ...]], Field(default_factory=dict), DECISION]
    share: Annotated[float, Field(gt=0, le=1), DECISION] = 1.0
    cap: Annotated[int | None, Field(ge=1), DECISION] = None
    plain: Annotated[float | None, Field(ge=0, lt=1), DECISION] = None
    epochs: Annotated[float | None, Field(gt=0), DECISION] = None
    learning_rate: Annotated[float | None, Field(gt=0), DECISION] = None


class Distributed(Settings):
    """`sft.distributed`: how several processes share the training; handed on as it is.

    `fsdp` goes to `fsdp_config` of transformers, `deepspeed` is its configuration, `ddp` is what
    transformers has under names that begin so (`{bucket_cap_mb: 25}`). With `by_hand`
    nothing is started: `accelerate launch`, or a batch system, starts what the run has written.
    """

    strategy: Annotated[Literal["ddp", "fsdp", "deepspeed"], OPERATIONAL] = "ddp"
    ddp: Annotated[dict[str, Any], Field(default_factory=dict), OPERATIONAL]
    fsdp: Annotated[dict[str, Any], Field(default_factory=dict), OPERATIONAL]
    deepspeed: Annotated[dict[str, Any], Field(default_factory=dict), OPERATIONAL]
    by_hand: Annotated[bool, OPERATIONAL] = False

    @model_validator(mode="after")
    def _fits(self) -> Distributed:
        for name in ("ddp", "fsdp", "deepspeed"):
            if getattr(self, name) and self.strategy != name:
                raise ValueError(f"{name} counts under the strategy {name!r}: {self.strategy!r}")
        if self.strategy == "deepspeed" and not self.deepspeed:
            raise ValueError("the strategy 'deepspeed' needs its configuration: deepspeed: {...}")
        known = {"timeout", "find_unused_parameters", "bucket_cap_mb", "broadcast_buffers"}
        if unknown := sorted(self.ddp.keys() - known):
            raise ValueError(
                f"ddp has no setting {unknown[0]!r}; there are {', '.join(sorted(known))}"
            )
        return self
