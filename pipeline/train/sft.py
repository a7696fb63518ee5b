"""Supervised fine-tuning of a causal language model on conversations, by TRL's `SFTTrainer`.

What is ours is what goes in and what comes out: ids and labels (`encoding`), PEFT's configuration
(`methods`), checkpoints that a killed training goes on from with the same data order, and a folder

    model/adapter/       adapter and tokenizer (or `model/full/`: all weights), in safetensors
    model/merged/        base and adapter as one model, where it is asked for
    model/metrics.jsonl  one line a logged step: loss, learning rate, tokens; and each evaluation
    model/tensorboard/   the same for TensorBoard, where it is installed
    model/README.md      the card: base, data, every setting

Rows are read from one Parquet file with `turns` (role and content), `held_out`, and `curriculum`:
where every row has a place there, they are shown in that order; `copies` is how often one stands in
the mixture, `phases` are those that take it. Needs no polars.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipeline.child_process import Tell
from pipeline.errors import InputError
from pipeline.train import curve, described, sharing, tiny
from pipeline.train.arguments import arguments, is_bf16
from pipeline.train.checks import about_context, check_kind, check_room, check_rows, check_targets
from pipeline.train.encoding import ANSWERS, Encoded, Encoder
from pipeline.train.loading import loading
from pipeline.train.methods import bottleneck_shape, callbacks, peft_config, quantization
from pipeline.train.plain import Pieces, documents
from pipeline.train.plan import Example, Plan, planned
from pipeline.train.prompt_ids import UnwritableError
from pipeline.train.settings import PROMPTS, Config
from pipeline.train.stopping import has_stalled, stopper, told_of_end

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

TINY_STEPS = 300
CHECKPOINTS = "checkpoints"
CURVE = "metrics.jsonl"
BOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained: the base's folder (null: tiny), the rows, the folder that comes out."""

    base: Path | None
    rows: Path
    out: Path
    config: Config
    seed: int
    named: str | None = None
    """What the base is called, where it has a name beside its folder."""


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
    sharing.check(job.config)
    rows = pq.read_table(job.rows).to_pylist()
    check_rows(rows)
    with sharing.first_before_others():
        base = job.base or _tiny(job, rows, tell)
    check_kind(base)
    tokenizer = _tokenizer(base)
    most = _context(base, job.config)
    _check_layers(base, job.config)
    check_targets(base, job.config)
    encoder = Encoder(tokenizer, answers_only=job.config.loss == "answers")
    encoded = [_encoded(encoder, row["turns"], most) for row in rows]
    verdicts = [_verdict(row["turns"], one, most) for row, one in zip(rows, encoded, strict=True)]
    tell({"verdicts": [[v.reason, v.detail, v.tokens, v.learned] for v in verdicts]})
    kept = [
        (_example(one, row), bool(row["held_out"]))
        for one, verdict, row in zip(encoded, verdicts, rows, strict=True)
        if isinstance(one, Encoded) and verdict.reason is None
    ]
    to_train = [one for one, is_held_out in kept if not is_held_out]
    to_measure = [one.encoded for one, is_held_out in kept if is_held_out]
    if not to_train:
        raise InputError(
            f"of {len(rows)} rows none is left to train on: "
            f"{_reasons(verdicts) or 'all are held out'}. {about_context(rows, encoder, most)}"
        )
    pieces = None
    if (plain := job.config.plain) is not None:
        pieces = Pieces(tokenizer, documents(Path(plain.file)), most, job.seed)
    plan = planned(to_train, job.config, job.seed, pieces)
    if not job.config.phases and (
        job.config.curriculum is not None or all(one.place is not None for one in to_train)
    ):
        by = "curriculum" if job.config.curriculum is None else job.config.curriculum.by
        tell({"said": f"Rows are shown in the order of their column `{by}`."})
    for said in plan.said:
        tell({"said": said})
    tell({"used": _used(job.config, most)})
    found = _train(job, base, tokenizer, plan, to_measure, tell)
    cut = sum(verdict.cut > 0 for verdict in verdicts if verdict.reason is None)
    tell({"done": found | {"rows_trained": len(to_train), "rows_cut": cut}})


def _example(encoded: Encoded, row: dict[str, Any]) -> Example:
    copies = row.get("copies")
    phases = tuple(row.get("phases") or ())
    return Example(encoded, row.get("curriculum"), 1 if copies is None else copies, phases)


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
    reads = described.positions(base) or 2048
    virtual = config.virtual_tokens if config.method in PROMPTS else 0
    if virtual >= reads:
        raise InputError(
            f"sft.virtual_tokens={virtual} leave no room for a row: the base reads {reads} tokens."
        )
    return min(config.max_length or 2048, reads - virtual)


def _check_layers(base: Path, config: Config) -> None:
    there = described.layers(base) or 0
    outside = [number for number in config.layer_numbers or () if number >= there > 0]
    if outside:
        raise InputError(f"the base has {there} layers, from 0, and sft.layers names {outside[0]}.")


def _used(config: Config, most: int) -> dict[str, Any]:
    """What was used where a setting is null."""
    found: dict[str, Any] = {
        "alpha": config.scaling,
        "learning_rate": config.rate,
        "max_length": most,
        "bf16": is_bf16(config),
    }
    if (shape := bottleneck_shape(config)) is not None:
        names = ("width", "activation", "places", "scale")
        found["bottleneck"] = {name: getattr(shape, name) for name in names}
        found["bottleneck"]["places"] = list(shape.places)
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
    plan: Plan,
    to_measure: Sequence[Encoded],
    tell: Tell,
) -> dict[str, Any]:
    """Train and save; gives what the books say of it."""
    from trl.data_utils import pack_dataset

    config = job.config
    if config.stopping is not None and not to_measure:
        raise InputError("sft.stopping looks at the loss on rows held out, and none is held out.")
    metrics = job.out / CURVE
    dataset = _dataset(plan.examples)
    longest = max(len(one.ids) for one in plan.examples)
    check_room(base, config, longest)
    if config.packing:
        plan.packs = len(pack_dataset(dataset, longest))
    steps = plan.steps(config.batch, config.max_steps)
    first_seen = plan.first_seen(config.batch, steps)
    checkpoints = job.out / CHECKPOINTS
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.out / BOARD)
    settings = arguments(
        config,
        checkpoints,
        job.seed,
        steps=steps,
        n_measured=len(to_measure),
        longest=longest,
    )
    settings.train_sampling_strategy = "random" if plan.order is None else "sequential"
    with loading(base):
        trainer = _trainer(
            job,
            base,
            args=settings,
            train_dataset=dataset if plan.order is None else dataset.select(plan.order),
            eval_dataset=_dataset(to_measure) if to_measure else None,
            processing_class=tokenizer,
            peft_config=peft_config(config, base, steps=steps),
            callbacks=[
                curve.teller(metrics, steps, tell),
                curve.capacity(metrics, first_seen, tell),
                *([stopper(config.stopping)] if config.stopping else []),
                *callbacks(config),
            ],
        )
    trainer.factors = plan.step_rates(config.batch)
    if config.method == "llama_adapter":  # PEFT has kept the forward that TRL has replaced since
        trainer.model.base_model.forward = trainer.model.get_base_model().forward
    if config.method == "qlora":
        _settle(trainer.model)
    trainable = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
    _go_on(trainer, config, checkpoints, metrics, steps)
    if config.stopping is not None:
        tell({"said": told_of_end(trainer.state, steps)})
    held_out = trainer.evaluate() if to_measure else {}
    _save(job, trainer, tokenizer)
    if not sharing.is_first():
        return {}
    shown = plan.plain_shown(config.batch, trainer.state.global_step)
    return ({} if config.plain is None else {"plain_tokens": shown}) | {
        "steps": trainer.state.global_step,
        "loss": curve.mean_loss(metrics),
        "held_out_loss": held_out.get("eval_loss"),
        "trainable": trainable,
        "bits_a_parameter": curve.bits(metrics, first_seen) / trainable,
        "learned_tokens": sum(one.learned for one in plan.examples),
    }


def _settle(model: Any) -> None:  # noqa: ANN401 - PEFT's
    """Have bitsandbytes round the base's weights now, as it does once on a processor.

    It does so when they are first read without training, and a training that goes on would do that
    at another step.
    """
    import torch

    model.eval()
    with torch.no_grad():
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
    model.train()


def _take_out_parts(checkpoints: Path) -> None:
    """Remove checkpoints that a kill cut off: the trainer writes its state as their last file."""
    for folder in checkpoints.glob("checkpoint-*"):
        try:
            json.loads((folder / "trainer_state.json").read_bytes())
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)


def _go_on(trainer: Any, config: Config, checkpoints: Path, metrics: Path, steps: int) -> None:  # noqa: ANN401 - TRL's
    """Train from the last checkpoint there is; where no step is left, take what it holds."""
    from transformers import TrainerState
    from transformers.trainer_utils import get_last_checkpoint

    with sharing.first_before_others():
        if sharing.is_first():
            _take_out_parts(checkpoints)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None  # type: ignore[no-untyped-call]
    state = None
    if last is not None:
        state = TrainerState.load_from_json(str(Path(last) / "trainer_state.json"))
    if sharing.is_first():  # nobody else writes it
        curve.cut(metrics, after=0 if state is None else state.global_step)
    if state is None:
        trainer.train()
        return
    has_ended = config.stopping is not None and has_stalled(state.log_history, config.stopping)
    if state.global_step < steps and not has_ended:
        trainer.train(resume_from_checkpoint=last)
        return
    trainer.state = state
    best = state.best_model_checkpoint if config.stopping else None
    trainer._load_from_checkpoint(str(checkpoints / Path(best).name) if best else last)


def _trainer(job: Job, base: Path, **given: Any) -> Any:  # noqa: ANN401 - TRL's
    """TRL's trainer, with the model that is trained."""
    from pipeline.train.trainer import Trainer

    shape = bottleneck_shape(job.config)
    if shape is None:
        return Trainer(model=str(base), quantization_config=quantization(job.config), **given)
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.train import bottleneck

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(job.seed)
    bottleneck.insert(model, shape)
    found = Trainer(model=model, **given)
    found.base_name = job.named or str(base)
    return found


def _save(job: Job, trainer: Any, tokenizer: PreTrainedTokenizerFast) -> None:  # noqa: ANN401 - TRL's
    """Adapter, or all weights, and where it is asked for both as one model; no checkpoint stays."""
    folder = job.out / ("full" if job.config.method == "full" else "adapter")
    trainer.save_model(str(folder))
    if not sharing.is_first():
        sharing.state().wait_for_everyone()
        return
    tokenizer.save_pretrained(folder)
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle
    if job.config.merge:
        merged = trainer.model.merge_and_unload()
        merged.save_pretrained(job.out / "merged")
        tokenizer.save_pretrained(job.out / "merged")
    shutil.rmtree(job.out / CHECKPOINTS, ignore_errors=True)
    sharing.state().wait_for_everyone()


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict(
        {"input_ids": [one.ids for one in rows], "labels": [one.labels for one in rows]}
    )
