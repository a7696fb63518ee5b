"""Settings of an evaluation: which models, on which rows, how they answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline.stage import DECISION, OPERATIONAL, StageConfig
from pipeline.teacher.settings import VLLMSettings

BASE, ADAPTER, OTHER = "base", "adapter", "other"
"""What the models of an evaluation are called in its rows and results."""


class Config(StageConfig):
    """Settings of `evaluate`.

    `base` is a folder or a model of the hub, `adapter` the folder of an adapter over it, or of a
    model; null are those that the recipe's own `sft` makes, or that the run has made which the rows
    come from. `other` is a second adapter, or model, that the first is compared with; null is the
    base. Answers are greedy, of at most `max_tokens`, `batch` at a time, by transformers, or with
    `vllm` by a server that is started for it. `labels` are those of a classification set; null are
    the outputs of the rows that are classifications. `by` are columns whose values get results of
    their own. `sizes` are the shares of the training rows of a data-size curve.
    """

    base: Annotated[str | None, DECISION] = None
    adapter: Annotated[str | None, DECISION] = None
    other: Annotated[str | None, DECISION] = None
    max_tokens: Annotated[int, Field(ge=1), DECISION] = 256
    batch: Annotated[int, Field(ge=1), DECISION] = 8
    labels: Annotated[tuple[str, ...] | None, Field(min_length=2), DECISION] = None
    by: Annotated[tuple[str, ...], DECISION] = ("task_type", "domain", "language")
    sizes: Annotated[tuple[Any, ...], DECISION] = ()
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 600.0
    vllm: VLLMSettings | None = None

    @field_validator("sizes")
    @classmethod
    def _rise(cls, given: tuple[Any, ...]) -> tuple[float, ...]:
        for share in given:
            is_number = isinstance(share, int | float) and not isinstance(share, bool)
            if not is_number or not 0 < share <= 1:
                raise ValueError(f"{share!r} is no share: a number above 0 and up to 1")
        if len(set(given)) < len(given):
            raise ValueError("a share stands twice")
        return tuple(sorted(map(float, given)))

    @field_validator("vllm")
    @classmethod
    def _adapters_are_ours(cls, given: VLLMSettings | None) -> VLLMSettings | None:
        if given is not None and given.lora_modules:
            raise ValueError("lora_modules are the adapters of the evaluation: leave them out")
        return given
