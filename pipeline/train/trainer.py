"""TRL's trainer, with checkpoints from which every method goes on as if it had not been ended.

What PEFT saves of an adapter is for using it: of P-tuning and a prefix with an MLP only what comes
out of the networks that are trained, of AdaLoRA matrices of the ranks that are left. A checkpoint
here holds the weights that are trained, under their own names, and no base.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.train import bottleneck

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

STATE, RANKS = "trainable.safetensors", "rank_pattern.json"
IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What AdaLoRA's allocator of ranks remembers of the steps before."""


class Trainer(SFTTrainer):
    """Trains what is not frozen in a model, and saves that alone, where a base is frozen."""

    base_name = ""
    """What is said of the base beside bottleneck adapters."""
    factors: Sequence[float] = ()
    """What the learning rate of each step is multiplied by, where phases have their own."""

    def create_scheduler(
        self, num_training_steps: int, optimizer: Optimizer | None = None
    ) -> LRScheduler:
        """Transformers' own, which each phase multiplies."""
        schedule: Any = super().create_scheduler(num_training_steps, optimizer)
        if self.factors and not getattr(schedule, "has_phases", False):
            schedule.lr_lambdas = [self._in_phases(one) for one in schedule.lr_lambdas]
            schedule.has_phases = True
            for group, begun in zip(
                schedule.optimizer.param_groups, schedule.base_lrs, strict=True
            ):
                group["lr"] = begun * schedule.lr_lambdas[0](0)
        found: LRScheduler = schedule
        return found

    def _in_phases(self, shape: Callable[[int], float]) -> Callable[[int], float]:
        last = len(self.factors) - 1
        return lambda step: shape(step) * self.factors[min(step, last)]

    @property
    def _is_ours(self) -> bool:
        """Whether checkpoints are ours: not where weights are in shards, or are all trained."""
        has_shards = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return not has_shards and any(not one.requires_grad for one in self._model.parameters())

    @property
    def _model(self) -> nn.Module:
        model: nn.Module = self.accelerator.unwrap_model(self.model)
        return model

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        is_checkpoint = folder.parent == Path(str(self.args.output_dir))
        if is_checkpoint and self._is_ours:
            if self.args.should_save:
                save_state(self._model, folder)
        elif bottleneck.weights(self._model):
            if self.args.should_save:
                bottleneck.save(self._model, folder, base=self.base_name)
        else:
            super()._save(output_dir, state_dict)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        if self._is_ours:
            load_state(self._model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self._is_ours:
            load_state(self._model, Path(str(self.state.best_model_checkpoint)))
        else:
            super()._load_best_model()


def save_state(model: nn.Module, folder: Path) -> None:
    """Write the weights of a model that are trained, and what their training remembers."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: one for name, one in model.named_parameters() if one.requires_grad}
    allocator = _allocator(model)
    if allocator is not None:
        for what in IMPORTANCE:
            found |= {f"{what}:{name}": one for name, one in getattr(allocator, what).items()}
        ranks = allocator.peft_config.rank_pattern
        (folder / RANKS).write_text(json.dumps(ranks), encoding="utf-8")
    saved = {name: one.detach().cpu().contiguous() for name, one in found.items()}
    save_file(saved, folder / STATE, metadata={"format": "pt"})


def load_state(model: nn.Module, folder: Path) -> None:
    """Give a model back what `save_state` has written of it."""
    saved = load_file(folder / STATE)
    there = dict(model.named_parameters())
    device = next(iter(there.values())).device
    with torch.no_grad():
        for name in saved.keys() & there.keys():
            there[name].copy_(saved[name])
    allocator = _allocator(model)
    if allocator is not None:
        for what in IMPORTANCE:
            begin = f"{what}:"
            remembered = {
                name.removeprefix(begin): one
                for name, one in saved.items()
                if name.startswith(begin)
            }
            setattr(allocator, what, {name: one.to(device) for name, one in remembered.items()})
        allocator.peft_config.rank_pattern = json.loads((folder / RANKS).read_text("utf-8"))


def _allocator(model: nn.Module) -> Any:  # noqa: ANN401 - PEFT's, or null
    return getattr(getattr(model, "base_model", None), "rankallocator", None)
