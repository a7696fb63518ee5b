"""TRL's trainer, with what our own kinds of training save and load at a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.train import bottleneck

__all__ = ["BottleneckTrainer", "SFTTrainer"]


class BottleneckTrainer(SFTTrainer):
    """Trains bottleneck adapters: a checkpoint holds them alone, not the base once more."""

    base_name = ""
    """What is said of the base beside the adapters."""

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        if self.args.should_save:
            folder = Path(str(output_dir or self.args.output_dir))
            model = self.accelerator.unwrap_model(self.model)
            bottleneck.save(model, folder, base=self.base_name)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        assert self.model is not None
        bottleneck.read(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        assert self.model is not None
        bottleneck.read(self.model, Path(str(self.state.best_model_checkpoint)))
