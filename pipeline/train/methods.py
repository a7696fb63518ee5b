"""The ways to fine-tune, as PEFT's configurations, and what each needs round its training.

LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023), DoRA (Liu et al. 2024), PiSSA (Meng et al.
2024), AdaLoRA (Zhang et al. 2023), QLoRA (Dettmers et al. 2023), FourierFT (Gao et al. 2024),
prefix tuning (Li and Liang 2021), prompt tuning (Lester et al. 2021), P-tuning (Liu et al. 2021),
P-tuning v2 (Liu et al. 2022: a prefix without an MLP), LLaMA-Adapter (Zhang et al. 2023).
Bottleneck adapters, which PEFT has not, are ours (`bottleneck`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.train.arguments import is_bf16
from pipeline.train.groups import Bottleneck
from pipeline.train.loading import without_weights
from pipeline.train.settings import BOTTLENECKS, FOURIER_PER_RANK, Config

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from pipeline.train.bottleneck import Shape

TASK = "CAUSAL_LM"


def peft_config(config: Config, base: Path, *, steps: int) -> PeftConfig | None:
    """PEFT's configuration of a method; null where all weights are trained, and for bottlenecks.

    `base` is the base's folder, `steps` are those of the training.
    """
    import peft
    from transformers import AutoConfig

    method = config.method
    if method in ("full", *BOTTLENECKS):
        return None
    if method in PREFIX:
        return peft.PrefixTuningConfig(
            task_type=TASK,
            num_virtual_tokens=config.virtual_tokens,
            prefix_projection=method == "prefix_mlp",
        )
    if method == "prompt":
        return peft.PromptTuningConfig(task_type=TASK, num_virtual_tokens=config.virtual_tokens)
    if method in P_TUNING:
        return peft.PromptEncoderConfig(
            task_type=TASK,
            num_virtual_tokens=config.virtual_tokens,
            encoder_reparameterization_type="LSTM" if method == "p_tuning_lstm" else "MLP",
        )
    if method == "llama_adapter":
        return peft.AdaptionPromptConfig(
            task_type=TASK,
            adapter_len=config.virtual_tokens,
            adapter_layers=int(AutoConfig.from_pretrained(base).num_hidden_layers),
        )
    targets: Any = config.targets if isinstance(config.targets, str) else list(config.targets)
    some = config.layer_numbers
    layers_of: dict[str, Any] = {} if some is None else {"layers_to_transform": some}
    if some is not None and targets == "all-linear":  # PEFT takes layers beside names alone
        targets = linear_names(base)
    if method == "fourierft":
        return peft.FourierFTConfig(
            task_type=TASK,
            target_modules=targets,
            n_frequency=FOURIER_PER_RANK * config.r,
            **layers_of,
        )
    shared: dict[str, Any] = {
        "task_type": TASK,
        "lora_alpha": config.scaling,
        "lora_dropout": config.dropout,
        "target_modules": targets,
        **layers_of,
    }
    if method == "adalora":
        return peft.AdaLoraConfig(
            init_r=config.r,
            target_r=max(config.r // 2, 1),
            total_step=steps,
            tinit=steps // 10,
            tfinal=steps // 4,
            deltaT=max(steps // 50, 1),
            **shared,
        )
    return peft.LoraConfig(
        r=config.r,
        use_rslora=method == "rslora",
        use_dora=method == "dora",
        init_lora_weights="pissa" if method == "pissa" else True,
        **shared,
    )


def bottleneck_shape(config: Config) -> Shape | None:
    """What the adapters of a bottleneck method look like; null for other methods."""
    if config.method not in BOTTLENECKS:
        return None
    from pipeline.train.bottleneck import Shape

    group = config.bottleneck or Bottleneck()
    is_parallel = config.method == "bottleneck_parallel"
    numbers = config.layer_numbers
    return Shape(
        form="parallel" if is_parallel else "serial",
        width=group.width,
        activation=group.activation,
        scale=group.scale or (4.0 if is_parallel else 1.0),
        places=group.places or (("mlp",) if is_parallel else ("attention", "mlp")),
        dropout=config.dropout,
        layers=None if numbers is None else tuple(numbers),
    )


def linear_names(base: Path) -> list[str]:
    """What the linear layers of a base's blocks are called, each once; no weight is loaded."""
    import torch

    last = {
        name.rpartition(".")[2]
        for name, module in without_weights(base).named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return sorted(last - {"lm_head"})


PREFIX = ("prefix", "prefix_mlp")
P_TUNING = ("p_tuning", "p_tuning_lstm")


def callbacks(config: Config) -> list[TrainerCallback]:
    """What a method needs to be told at each step."""
    if config.method != "adalora":
        return []
    from transformers import TrainerCallback

    class Allocate(TrainerCallback):
        """Has AdaLoRA's ranks adapt, which no trainer does by itself."""

        def on_optimizer_step(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            model: Any = None,  # noqa: ANN401 - PEFT's, which has no class of its own
            **rest: object,
        ) -> None:
            model.base_model.update_and_allocate(state.global_step + 1)

    return [Allocate()]


def quantization(config: Config) -> Any:  # noqa: ANN401 - of transformers, or null
    """How the base's weights are held: nf4, quantised twice, for QLoRA."""
    if config.method != "qlora":
        return None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if is_bf16(config) else torch.float32,
    )
