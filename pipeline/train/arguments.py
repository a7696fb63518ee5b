"""TRL's settings of a fine-tuning, out of ours."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.train import sharing
from pipeline.train.settings import Config

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig

LOG_EVERY = 10
SCHEDULES = {"constant": "constant_with_warmup"}
"""Their `constant` leaves a warm-up out."""
OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor", "adamw_8bit": "adamw_bnb_8bit"}


def is_bf16(config: Config) -> bool:
    """Whether sums are taken in bfloat16, as set, or where there is a GPU."""
    import torch

    return torch.cuda.is_available() if config.bf16 is None else config.bf16


def has_board(config: Config) -> bool:
    """Whether the curve is written for TensorBoard, too: as set, or where it is installed."""
    return (
        find_spec("tensorboard") is not None if config.tensorboard is None else config.tensorboard
    )


def arguments(
    config: Config, folder: Path, seed: int, *, steps: int, n_measured: int, longest: int
) -> SFTConfig:
    """TRL's settings; checkpoints go to `folder`, `longest` is the longest row, in tokens."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    has_gpu = torch.cuda.is_available()
    stopping = config.stopping
    every = min((stopping and stopping.every) or max(steps // 10, 1), steps)
    processes = sharing.state().num_processes
    device_batch = sharing.device_batch(config, processes)
    in_16_bits = is_bf16(config)
    # what is trained stays whole, and FSDP takes weights of one kind alone
    holds_16_bits = in_16_bits and config.method != "full" and config.distributed is None
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=device_batch,
        per_device_eval_batch_size=device_batch,
        gradient_accumulation_steps=config.batch // (device_batch * processes),
        learning_rate=config.rate,
        lr_scheduler_type=SCHEDULES.get(config.schedule, config.schedule),
        warmup_steps=config.warmup,
        optim=OPTIMIZERS[config.optimizer],
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        max_length=longest if config.packing else None,  # the encoder has cut them, and counted it
        packing=config.packing,
        neftune_noise_alpha=config.neftune_alpha,
        gradient_checkpointing=config.checkpointing,
        bf16=in_16_bits,
        model_init_kwargs={"dtype": "bfloat16" if holds_16_bits else "float32"},
        use_cpu=not has_gpu,
        dataloader_pin_memory=has_gpu,
        eval_strategy="steps" if n_measured else "no",
        eval_steps=every if n_measured else None,
        logging_steps=LOG_EVERY,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=every if stopping else config.save_every,  # the best has to be there
        save_total_limit=2,
        load_best_model_at_end=stopping is not None,
        metric_for_best_model="eval_loss" if stopping else None,
        greater_is_better=False if stopping else None,
        seed=seed,
        data_seed=seed,
        report_to="tensorboard" if has_board(config) else "none",
        disable_tqdm=True,
        **sharing.arguments(config),
    )
