"""Settings of a fine-tuning that belong together, each a group of `sft` that is null by default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.stage import DECISION, Settings


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
