"""Several processes that share one training: who is the first, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.train.groups import Distributed
from pipeline.train.settings import Config

if TYPE_CHECKING:
    from accelerate import PartialState


def state() -> PartialState:
    """Which process this is, of how many; on a processor they talk through gloo."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return bool(state().is_main_process)


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process through this block, and the others once it has been."""
    with state().main_process_first():
        yield


def device_batch(config: Config, processes: int) -> int:
    """The rows that each of so many processes works at together.

    Raises `InputError` where a step's rows cannot be shared out.
    """
    each = min(config.device_batch, max(config.batch // processes, 1))
    if config.batch % (each * processes):
        raise InputError(
            f"sft.batch={config.batch} is no multiple of {each} rows in each of {processes} "
            "processes: set another sft.batch or sft.device_batch."
        )
    return each


def check(config: Config) -> None:
    """Raise `InputError` where the processors at hand cannot share the training so."""
    import torch

    strategy = "ddp" if config.distributed is None else config.distributed.strategy
    there = torch.cuda.device_count()
    if strategy != "ddp" and not there:
        raise InputError(
            f"sft.distributed.strategy={strategy} needs GPUs, and this machine has none: leave it "
            "at 'ddp', or run where there are some."
        )
    here = state()
    if there and here.local_process_index >= there:
        raise InputError(
            f"sft.processes: {here.num_processes} processes share {there} GPUs; one each is the "
            "most."
        )
    device_batch(config, here.num_processes)


def arguments(config: Config) -> dict[str, Any]:
    """What transformers is told of it."""
    group = config.distributed or Distributed(ddp={}, fsdp={}, deepspeed={})
    found: dict[str, Any] = {f"ddp_{name}": value for name, value in group.ddp.items()}
    if group.strategy == "fsdp":
        found |= {"fsdp": True, "fsdp_config": dict(group.fsdp)}
    if group.strategy == "deepspeed":
        found["deepspeed"] = dict(group.deepspeed)
    return found
