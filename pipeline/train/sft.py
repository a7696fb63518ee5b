"""Supervised fine-tuning of a causal language model on conversations, by TRL's `SFTTrainer`.

What is ours is what goes in and what comes out: ids and labels (`encoding`), PEFT's configuration
(`methods`), checkpoints that a killed training goes on from with the same data order, and a folder

    model/adapter/       adapter and tokenizer (or `model/full/`: all weights), in safetensors
    model/merged/        base and adapter as one model, where it is asked for
    model/metrics.jsonl  one line a logged step: loss, learning rate, tokens; and each evaluation
    model/README.md      the card: base, data, every setting

Rows are read from one Parquet file with `turns` (role and content), `held_out`, and `curriculum`:
where every row has a place there, they are shown in that order. Needs no polars.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.train import tiny
from pipeline.train.checks import (
    about_context,
    check_kind,
    check_room,
    check_rows,
    is_in_16_bits,
)
from pipeline.train.encoding import ANSWERS, Encoded, Encoder
from pipeline.train.loading import loading
from pipeline.train.methods import callbacks, peft_config, quantization
from pipeline.train.prompt_ids import UnwritableError
from pipeline.train.settings import Config

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import (
        PreTrainedTokenizerFast,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )
    from trl.trainer.sft_config import SFTConfig

TINY_STEPS = 300
LOG_EVERY = 10
CHECKPOINTS = "checkpoints"
CURVE = "metrics.jsonl"
OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor", "adamw_8bit": "adamw_bnb_8bit"}
MOST_BITS = 2.0
"""Bits a trainable parameter can hold; data of more is not learned by heart, nor all of it."""

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained: the base's folder (null: tiny), the rows, the folder that comes out."""

    base: Path | None
    rows: Path
    out: Path
    config: Config
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a row: why nothing is learned of it, and how many tokens it has."""

    reason: str | None
    detail: str
    tokens: int
    learned: int
    cut: int


def run(job: Job, tell: Tell) -> None:
    """Train, and tell how it goes: verdicts of all rows, then steps, then what came out.

    Raises `InputError` where nothing can be learned from, before any weight is loaded.
    """
    _quiet()
    rows = pq.read_table(job.rows).to_pylist()
    check_rows(rows)
    base = job.base or _tiny(job, rows, tell)
    check_kind(base)
    tokenizer = _tokenizer(base)
    most = _context(base, job.config)
    encoder = Encoder(tokenizer, answers_only=job.config.loss == "answers")
    encoded = [_encoded(encoder, row["turns"], most) for row in rows]
    verdicts = [_verdict(row["turns"], one, most) for row, one in zip(rows, encoded, strict=True)]
    tell({"verdicts": [[v.reason, v.detail, v.tokens, v.learned] for v in verdicts]})
    kept = [
        (one, row)
        for one, verdict, row in zip(encoded, verdicts, rows, strict=True)
        if isinstance(one, Encoded) and verdict.reason is None
    ]
    is_ordered = all(row.get("curriculum") is not None for _, row in kept)
    if is_ordered:
        kept.sort(key=lambda entry: int(entry[1]["curriculum"]))
    to_train = [one for one, row in kept if not row["held_out"]]
    to_measure = [one for one, row in kept if row["held_out"]]
    if not to_train:
        raise InputError(
            f"of {len(rows)} rows none is left to train on: "
            f"{_reasons(verdicts) or 'all are held out'}. {about_context(rows, encoder, most)}"
        )
    if is_ordered:
        tell({"said": "Rows are shown in the order of their column `curriculum`."})
    found = _train(job, base, tokenizer, to_train, to_measure, tell, is_ordered=is_ordered)
    cut = sum(verdict.cut > 0 for verdict in verdicts if verdict.reason is None)
    tell({"done": found | {"rows_trained": len(to_train), "rows_cut": cut}})


def _reasons(verdicts: Sequence[Verdict]) -> str:
    found: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.reason:
            found[verdict.reason] = found.get(verdict.reason, 0) + 1
    return ", ".join(f"{reason} {n}" for reason, n in sorted(found.items()))


def _quiet() -> None:
    import warnings

    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore")


def _tiny(job: Job, rows: Sequence[dict[str, Any]], tell: Tell) -> Path:
    """A small model that has read the answers of the rows alone; made once a run."""
    folder = job.out / "base"
    if (folder / "done").is_file():
        return folder
    tell({"said": "The base is 'tiny', a small model made for this run; it shows the way only."})
    trained = [row["turns"] for row in rows if not row["held_out"]]
    texts = [turn["content"] for turns in trained for turn in turns if turn["content"]]
    size = tiny.Size(tied=False)
    tokenizer = tiny.make_tokenizer(texts, size)
    model = tiny.make_model(tokenizer, size, job.seed)
    answers = [
        list(tokenizer(turn["content"] + tiny.STOP)["input_ids"])
        for turns in trained
        for turn in turns
        if turn["role"] == "assistant" and turn["content"]
    ]
    if answers:
        tiny.train(model, answers, seed=job.seed, steps=TINY_STEPS)
    tiny.save(folder, model, tokenizer)
    (folder / "done").touch()
    return folder


def _tokenizer(base: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    with loading(base):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            base, local_files_only=True, trust_remote_code=False
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    found: PreTrainedTokenizerFast = tokenizer
    return found


def _context(base: Path, config: Config) -> int:
    """The most tokens of a row: as set, and as the model reads."""
    reads = int(_described(base).get("max_position_embeddings") or 2048)
    virtual = config.virtual_tokens if config.method in ("prompt", "p_tuning") else 0
    return min(config.max_length or 2048, reads - virtual)


def _described(base: Path) -> dict[str, Any]:
    """What the base's configuration says of it."""
    found: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return found


def _encoded(encoder: Encoder, turns: Sequence[dict[str, str]], most: int) -> Encoded | str:
    try:
        return encoder.encode(turns, most)
    except UnwritableError as error:
        return str(error)


def _verdict(turns: Sequence[dict[str, str]], found: Encoded | str, most: int) -> Verdict:
    """What becomes of a row; one whose answers are all empty teaches to say nothing."""
    if isinstance(found, str):
        return Verdict("template_refuses", found[:300], 0, 0, 0)
    reason, detail = None, ""
    if not any(turn["role"] == ANSWERS and turn["content"].strip() for turn in turns):
        reason = "no_answer"
    elif not found.learned:
        reason = "prompt_fills_the_context"
        detail = f"{found.cut} tokens of the answer lie after the first {most}"
    return Verdict(reason, detail, len(found.ids), found.learned, found.cut)


def _train(
    job: Job,
    base: Path,
    tokenizer: PreTrainedTokenizerFast,
    to_train: Sequence[Encoded],
    to_measure: Sequence[Encoded],
    tell: Tell,
    *,
    is_ordered: bool,
) -> dict[str, Any]:
    """Train and save; gives what the books say of it."""
    from transformers.trainer_utils import get_last_checkpoint
    from trl.trainer.sft_trainer import SFTTrainer

    config = job.config
    steps = config.max_steps or max(math.ceil(len(to_train) / config.batch * config.epochs), 1)
    longest = max(len(one.ids) for one in to_train)
    check_room(base, config, longest)
    settings = _settings(job, steps, len(to_measure), longest)
    settings.train_sampling_strategy = "sequential" if is_ordered else "random"
    with loading(base):
        trainer: Any = SFTTrainer(
            model=str(base),
            args=settings,
            train_dataset=_dataset(to_train),
            eval_dataset=_dataset(to_measure) if to_measure else None,
            processing_class=tokenizer,
            peft_config=peft_config(config, base, steps=steps),
            quantization_config=quantization(config),
            callbacks=[_teller(job.out / CURVE, steps, tell), *callbacks(config)],
        )
    if config.method == "llama_adapter":  # PEFT has kept the forward that TRL has replaced since
        trainer.model.base_model.forward = trainer.model.get_base_model().forward
    checkpoints = job.out / CHECKPOINTS
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None  # type: ignore[no-untyped-call]
    curve = job.out / CURVE
    _cut_curve(curve, after=int(last.rpartition("-")[2]) if last else 0)
    ended = trainer.train(resume_from_checkpoint=last)
    held_out = trainer.evaluate() if to_measure else {}
    found = {
        "steps": ended.global_step,
        "loss": _mean_loss(curve),
        "held_out_loss": held_out.get("eval_loss"),
        "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "learned_tokens": sum(one.learned for one in to_train),
    }
    _save(job, trainer, tokenizer)
    return found


def _settings(job: Job, steps: int, n_measured: int, longest: int) -> SFTConfig:
    """TRL's settings; `longest` is the longest row, in tokens."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    config = job.config
    has_gpu = torch.cuda.is_available()
    in_16_bits = is_in_16_bits(config)
    holds_16_bits = in_16_bits and config.method != "full"  # what is trained stays whole
    device_batch = min(config.device_batch, config.batch)
    return SFTConfig(
        output_dir=str(job.out / CHECKPOINTS),
        max_steps=steps,
        per_device_train_batch_size=device_batch,
        per_device_eval_batch_size=device_batch,
        gradient_accumulation_steps=config.batch // device_batch,
        learning_rate=config.rate,
        lr_scheduler_type=config.schedule,
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
        eval_steps=max(steps // 10, 1) if n_measured else None,
        logging_steps=LOG_EVERY,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        seed=job.seed,
        data_seed=job.seed,
        report_to="none",
        disable_tqdm=True,
    )


def _teller(curve: Path, steps: int, tell: Tell) -> TrainerCallback:
    """Writes the curve, and tells each step."""
    from transformers import TrainerCallback

    class Teller(TrainerCallback):
        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float] | None = None,
            **_: object,
        ) -> None:
            with curve.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")

        def on_step_end(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **_: object,
        ) -> None:
            tell({"step": state.global_step, "steps": steps})
            # a loss is the mean since the one before, and after a start since that start
            if state.global_step % args.save_steps == 0 or state.global_step == steps:
                control.should_log = True

    return Teller()


def _cut_curve(curve: Path, *, after: int) -> None:
    """Take out what was logged after the checkpoint that the training goes on from."""
    if curve.is_file():
        lines = curve.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = (line for line in lines if line.endswith("\n"))  # a kill may have cut the last
        kept = "".join(line for line in whole if json.loads(line)["step"] <= after)
        curve.write_text(kept, encoding="utf-8")


def _mean_loss(curve: Path) -> float:
    """The mean over all steps; what `train` gives is that of the steps since the last start."""
    total, last = 0.0, 0
    for line in curve.read_text(encoding="utf-8").splitlines():
        logged = json.loads(line)
        if "loss" in logged:
            total += logged["loss"] * (logged["step"] - last)
            last = logged["step"]
    return total / last


def _save(job: Job, trainer: Any, tokenizer: PreTrainedTokenizerFast) -> None:  # noqa: ANN401 - TRL's
    """Adapter, or all weights, and where it is asked for both as one model; no checkpoint stays."""
    folder = job.out / ("full" if job.config.method == "full" else "adapter")
    trainer.save_model(str(folder))
    tokenizer.save_pretrained(folder)
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle
    if job.config.merge:
        merged = trainer.model.merge_and_unload()
        merged.save_pretrained(job.out / "merged")
        tokenizer.save_pretrained(job.out / "merged")
    shutil.rmtree(job.out / CHECKPOINTS, ignore_errors=True)


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict(
        {"input_ids": [one.ids for one in rows], "labels": [one.labels for one in rows]}
    )
