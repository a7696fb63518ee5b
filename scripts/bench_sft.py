r"""Tokens per second, memory and share of the card's peak of LoRA training, beside TRL's defaults.

    python scripts/bench_sft.py --rows instructions.parquet --shape 1b --shape 7b
    python scripts/bench_sft.py --rows instructions.parquet --shape tiny          # on a processor

A Llama-shaped model with weights drawn at random trains a LoRA adapter (r = 16, all linear layers)
on rows of random tokens whose lengths are those of the rows of `--rows`: 4 bytes a token, rows that
follow each other joined until they have 512 tokens, and cut at 4,096. All cases of `CASES` get the
same rows, each in a process of its own; the loss is over all tokens. The first of them, `trl`, is
what TRL does with a model's name and nothing set: weights in float32 computed with in bfloat16,
checkpointing, 8 rows at a time, padded (its cut at 1,024 tokens is lifted, or it would train on
less). `synth` is what `synth run sft` does by default; the others change what they are called for.

tokens/s  tokens of rows, none of padding, over the time of the steps after `WARM` of them
MFU       floating-point operations that the model needs, over time and the card's peak:

    a row of n tokens:  n * (4 * P + 6 * A)  +  6 * L * H * n ** 2

P are the numbers in matrices, the output layer with them and the embedding not: 2 operations each
going forward and 2 going back, as no gradient of a frozen matrix is computed (6 would be all
weights); A are those of the adapter, with 2 more. L layers of attention whose heads are H wide
together take 2 * n ** 2 * H forward (scores and sums, 2 each, half of them by causality), and twice
that back. What checkpointing computes again is not counted, nor is padding.

Needs torch, transformers, peft, trl, datasets, pyarrow and pydantic, and of this project
`pipeline.train`, which needs no more: on a host without a package index carry the wheels of trl,
datasets, multiprocess, dill, pydantic, pydantic_core, annotated_types and typing_inspection, and
start it from the checkout. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

WARM = 3
FEWEST, MOST = 512, 4096
BYTES_A_TOKEN = 4
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
}
"""Dense operations a second in bfloat16, by a part of the GPU's name; the first that fits."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model: width, inner width, layers, heads, heads of keys, vocabulary."""

    width: int
    inner: int
    layers: int
    heads: int
    keys: int
    vocabulary: int


SHAPES = {
    "tiny": Shape(64, 128, 2, 2, 1, 2048),
    "1b": Shape(2048, 8192, 16, 32, 8, 128_256),
    "7b": Shape(4096, 11_008, 32, 32, 32, 32_000),
}


@dataclass(frozen=True, slots=True)
class Case:
    """How a training is set up; `whole` says that frozen weights are held in float32."""

    batch: int = 8
    whole: bool = False
    packing: bool = False
    checkpointing: bool = False
    attention: str = "sdpa"
    fused: bool = False
    """Liger's fused kernels, where they are installed; the loss is taken in chunks without too."""


CASES = {
    "trl": Case(whole=True, checkpointing=True),
    "synth": Case(),
    "checkpointing": Case(checkpointing=True),
    "batch of 2": Case(batch=2),
    "packed": Case(batch=2, packing=True),
    "packed, flash": Case(batch=2, packing=True, attention="flash_attention_2"),
    "packed, flex": Case(batch=2, packing=True, attention="flex_attention"),
    "packed, flash, checkpointing": Case(
        batch=4, packing=True, checkpointing=True, attention="flash_attention_2"
    ),
    "packed, flash, fused": Case(batch=2, packing=True, attention="flash_attention_2", fused=True),
    "packed, flash, fused, batch of 4": Case(
        batch=4, packing=True, attention="flash_attention_2", fused=True
    ),
}
NEEDS = {"flash_attention_2": "flash_attn", "fused": "liger_kernel"}


def main() -> None:
    """Print a table of all cases for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="Parquet or JSON lines, any text")
    parser.add_argument("--shape", action="append", choices=list(SHAPES))
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--steps", type=int, default=12, help="steps that are timed")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        shape, case = json.loads(given.only)
        print(json.dumps(measure(SHAPES[shape], CASES[case], lengths(given.rows), given.steps)))
        return
    print("| shape | case | tokens/s | MFU | peak memory | tokens a step | padded | device |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    for shape in given.shape or ["tiny"]:
        for case in given.case or CASES:
            print(f"| {shape} | {case} | {_apart(given, shape, case)} |", flush=True)


def _apart(given: argparse.Namespace, shape: str, case: str) -> str:
    """The other cells of a line, measured in a process of its own."""
    if missing := lacks(CASES[case]):
        return f"{missing} is not installed |||||"
    only = ["--rows", str(given.rows), "--steps", str(given.steps)]
    done = subprocess.run(
        [sys.executable, __file__, *only, "--only", json.dumps([shape, case])],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return f"{'out of memory' if 'out of memory' in last else last[:160]} |||||"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    mfu = "" if found["mfu"] is None else f"{found['mfu']:.1%}"
    return (
        f"{found['tokens_a_second']:,.0f} | {mfu} | {found['peak_bytes'] / 2**30:.1f} GiB | "
        f"{found['tokens_a_step']:,.0f} | {found['padded']:.0%} | {found['device']}"
    )


def lacks(case: Case) -> str | None:
    """The package that a case needs and that is not here."""
    wanted = [NEEDS.get(case.attention), NEEDS["fused"] if case.fused else None]
    return next((one for one in wanted if one and find_spec(one) is None), None)


def lengths(path: Path) -> list[int]:
    """Tokens of each row: rows of the file, joined until they are long enough, and cut."""
    found, joined = [], 0
    for text in _texts(path):
        joined += len(text.encode()) // BYTES_A_TOKEN
        if joined >= FEWEST:
            found.append(min(joined, MOST))
            joined = 0
    if not found:
        sys.exit(f"{path} has no text of {FEWEST} tokens.")
    return found


def _texts(path: Path) -> list[str]:
    """All text of each row."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [" ".join(one for one in row.values() if isinstance(one, str)) for row in rows]


def measure(
    shape: Shape, case: Case, found: Sequence[int], steps: int, *, longest: int = MOST
) -> dict[str, Any]:
    """Train for `steps` and `WARM` before them; what was measured."""
    import torch
    from transformers import TrainerCallback
    from trl.trainer.sft_trainer import SFTTrainer

    has_gpu = torch.cuda.is_available()
    drawn = list(found)
    Random(1).shuffle(drawn)
    rows = [min(length, longest) for length in drawn]
    while sum(rows) < (steps + WARM + 2) * case.batch * longest:
        rows += rows
    with tempfile.TemporaryDirectory() as folder:
        trainer: Any = SFTTrainer(
            model=_model(shape, case, has_gpu=has_gpu, longest=longest),
            args=_settings(case, steps, folder, has_gpu=has_gpu, longest=longest),
            train_dataset=_dataset(rows, shape, case, steps, longest),
            processing_class=_tokenizer(longest),
            peft_config=_adapter(),
        )
        batches: list[tuple[list[int], int]] = []
        collate = trainer.data_collator

        def counted(features: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - TRL's
            batch = collate(features)
            documents = [
                n for one in features for n in one.get("seq_lengths") or [len(one["input_ids"])]
            ]
            batches.append((documents, batch["input_ids"].numel()))
            return batch

        trainer.data_collator = counted
        ends: list[float] = []

        class Clock(TrainerCallback):
            def on_step_end(self, *_: object, **__: object) -> None:
                if has_gpu:
                    torch.cuda.synchronize()
                ends.append(time.perf_counter())

        trainer.add_callback(Clock())
        trainer.train()
    seconds = ends[-1] - ends[WARM - 1]
    timed = batches[WARM : WARM + steps]
    tokens = sum(sum(documents) for documents, _ in timed)
    trained = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
    work = sum(operations(shape, documents, trained) for documents, _ in timed)
    name = torch.cuda.get_device_name() if has_gpu else "processor"
    peak = next((value for part, value in PEAKS.items() if part in name), None)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "tokens_a_second": tokens / seconds,
        "mfu": None if peak is None else work / seconds / peak,
        "peak_bytes": torch.cuda.max_memory_allocated() if has_gpu else used,
        "tokens_a_step": tokens / steps,
        "padded": 1 - tokens / sum(size for _, size in timed),
        "device": name,
        "operations": work,
        "trained": trained,
    }


def operations(shape: Shape, documents: Sequence[int], trained: int) -> float:
    """Floating-point operations of a step over documents of so many tokens (the formula above)."""
    matrices = shape.width * shape.vocabulary + shape.layers * (
        2 * shape.width * shape.width
        + 2 * shape.width * (shape.width // shape.heads * shape.keys)
        + 3 * shape.width * shape.inner
    )
    each = 4 * matrices + 6 * trained
    return float(sum(n * each + 6 * shape.layers * shape.width * n**2 for n in documents))


def _model(shape: Shape, case: Case, *, has_gpu: bool, longest: int) -> Any:  # noqa: ANN401
    """A model with weights drawn at random, where it is trained."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.keys,
        max_position_embeddings=longest,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    held = torch.float32 if case.whole else torch.bfloat16
    torch.manual_seed(1)
    with torch.device("cuda" if has_gpu else "cpu"):
        return AutoModelForCausalLM.from_config(
            config, dtype=held, attn_implementation=case.attention
        )


def _settings(case: Case, steps: int, folder: str, *, has_gpu: bool, longest: int) -> Any:  # noqa: ANN401
    """TRL's settings of a case."""
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=folder,
        max_steps=steps + WARM,
        per_device_train_batch_size=case.batch,
        gradient_checkpointing=case.checkpointing,
        packing=case.packing,
        max_length=longest,
        use_liger_kernel=case.fused,
        learning_rate=2e-4,
        bf16=True,
        use_cpu=not has_gpu,
        dataloader_pin_memory=has_gpu,
        train_sampling_strategy="sequential",  # so that all cases see the same rows
        save_strategy="no",
        logging_steps=steps + WARM,
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )


def _dataset(rows: Sequence[int], shape: Shape, case: Case, steps: int, longest: int) -> Any:  # noqa: ANN401
    """Random tokens, as many in each row as it has; no more rows than the steps take."""
    from datasets import Dataset

    rng = Random(1)
    most = (steps + WARM + 2) * case.batch
    taken, tokens = 0, 0
    while taken < most if not case.packing else tokens < most * longest:
        tokens += rows[taken]
        taken += 1
    ids = [rng.choices(range(3, shape.vocabulary), k=length) for length in rows[:taken]]
    return Dataset.from_dict({"input_ids": ids, "labels": ids})


def _tokenizer(longest: int) -> Any:  # noqa: ANN401
    """Something that knows which token pads: rows are tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1, "<unknown>": 2}, "<unknown>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", model_max_length=longest
    )


def _adapter() -> Any:  # noqa: ANN401
    """The adapter that `synth run sft` trains by default."""
    from pipeline.train.methods import peft_config
    from pipeline.train.settings import Config

    return peft_config(Config(), Path(), steps=1)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
