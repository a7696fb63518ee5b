r"""Whether fine-tuning learns what instructions ask: true answers against answers of other rows.

    python scripts/bench_learning.py [--seeds 1,2,3] [--longest 20] [--set sft.method=lora ...]

The offline teacher writes rows (`synth run self-instruct`); one of each root task whose answer has
at most `--longest` characters is taken, as a model of 340,000 weights learns no long ones. By seed,
`synth run sft` trains twice from the same base, `tiny`, which was made by the first of the two and
has read the answers of the training rows alone: on 500 rows as they are, and on the same rows with
their answers permuted within buckets of `BUCKET` rows of like length. What is compared is the loss
of the held-out answers given their instructions, true ones in both, as `synth run evaluate`
measures it. Permuted, everything can be learned but what an instruction has to do with its answer;
`gain` is by which share of the loss after permuted answers that after true ones is lower.

A loss of many answers is read in two ways, and both are printed: by tokens, where a table counts as
often as it has tokens, and by rows, the mean of each answer's own mean, where it counts as much as
a label of one word. The first is what training minimises, the second what an answer loses.
With answers of any length (`--longest 100000`) the gain is 6 % by tokens and 7 to 10 % by rows:
scripts/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from pipeline import open_run
from pipeline.stages.export import side_number

ROOT = Path(__file__).parent.parent
TRAINED = 500
VALIDATION = 0.25
BUCKET = 50
SETTINGS = ("sft.method=full", "sft.learning_rate=0.003", "sft.epochs=8")
"""What a model of this size learns by: an adapter on weights that know nothing moves too little."""


def main() -> None:
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--tasks", type=int, default=4000, help="tasks that the teacher writes")
    parser.add_argument("--longest", type=int, default=20, help="characters of an answer")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--work", type=Path, help="a folder for the runs; else one that goes again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = given.work or Path(name)
        synth("self-instruct", work / "made", "--limit", str(given.tasks))
        rows = short_rows(work / "made", given.longest)
        print(f"{rows.height} rows of as many tasks, answers of up to {given.longest} characters\n")
        print("| seed | trained | held out | by tokens: paired | permuted | gain ", end="")
        print("| by rows: paired | permuted | gain | s |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for seed in map(int, given.seeds.split(",")):
            print(measure(rows, seed, work, given.settings), flush=True)


def synth(recipe: str, out: Path, *more: str) -> None:
    """`synth run RECIPE`, as a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "run", recipe, "--out", str(out), *more]
    places = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def short_rows(run: Path, longest: int) -> pl.DataFrame:
    """One row of each root task whose answer is short enough: instruction, input, output."""
    rows = open_run(run).kept("dedup").filter(pl.col("output").str.len_chars() <= longest)
    rows = rows.unique("root_id", keep="first", maintain_order=True)
    return rows.select("instruction", "input", "output")


def measure(rows: pl.DataFrame, seed: int, work: Path, more: list[str]) -> str:
    """One line of the table."""
    began = time.monotonic()
    folder = work / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = rows.sample(fraction=1.0, shuffle=True, seed=seed).to_dicts()
    is_held_out = [
        side_number(f"import-{number:06d}-00", seed) < VALIDATION for number in range(len(chosen))
    ]
    trained = [number for number, out in enumerate(is_held_out) if not out][:TRAINED]
    if len(trained) < TRAINED:
        sys.exit(f"{len(trained)} rows to train on, {TRAINED} are wanted: raise --tasks.")
    chosen = chosen[: trained[-1] + 1]
    arms = {"paired": chosen, "permuted": permuted(chosen, trained, Random(seed))}
    for arm, its_rows in arms.items():
        path = folder / f"{arm}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in its_rows), encoding="utf-8")
        sets = [*SETTINGS, *more, f"seed={seed}", f"sft.validation={VALIDATION}"]
        if arm == "permuted":
            sets.append(f"sft.base={folder / 'paired' / 'model' / 'base'}")
        given = [part for one in sets for part in ("--set", one)]
        synth("sft", folder / arm, "--input", str(path), *given)
    found = losses(folder)
    n_trained = open_run(folder / "paired").stage("sft").measures["rows_trained"]
    cells = [f"{seed}", f"{n_trained}", f"{len(found['paired'])}"]
    for mean in (by_tokens, by_rows):
        paired, other = mean(found["paired"]), mean(found["permuted"])
        cells += [f"{paired:.3f}", f"{other:.3f}", f"{1 - paired / other:.1%}"]
    return f"| {' | '.join(cells)} | {time.monotonic() - began:.0f} |"


def losses(folder: Path) -> dict[str, list[tuple[float, int]]]:
    """Of each held-out answer the mean loss of its tokens and their number, after each arm."""
    sets = [f"evaluate.other={folder / 'permuted' / 'model' / 'full'}", "evaluate.max_tokens=1"]
    given = [part for one in sets for part in ("--set", one)]
    synth("evaluate", folder / "losses", "--input", str(folder / "paired"), *given)
    arms = {"adapter": "paired", "other": "permuted"}
    found: dict[str, list[tuple[float, int]]] = {arm: [] for arm in arms.values()}
    for models in open_run(folder / "losses").kept("evaluate")["evaluations"].drop_nulls():
        for one in models:
            if one["model"] in arms and one["loss"] is not None:
                found[arms[one["model"]]].append((one["loss"], one["loss_tokens"]))
    return found


def by_tokens(found: list[tuple[float, int]]) -> float:
    """The mean loss of all tokens of all answers."""
    return sum(loss * tokens for loss, tokens in found) / sum(tokens for _, tokens in found)


def by_rows(found: list[tuple[float, int]]) -> float:
    """The mean of what each answer loses a token."""
    return sum(loss for loss, _ in found) / len(found)


def permuted(rows: list[dict[str, Any]], trained: list[int], rng: Random) -> list[dict[str, Any]]:
    """The rows with the answers of those that are trained on exchanged among ones of like length.

    What is held out stays as it is.
    """
    found = list(rows)
    by_length = sorted(trained, key=lambda number: (len(rows[number]["output"]), number))
    for start in range(0, len(by_length), BUCKET):
        bucket = by_length[start : start + BUCKET]
        drawn = list(bucket)
        rng.shuffle(drawn)
        for number, other in zip(bucket, drawn, strict=True):
            found[number] = rows[number] | {"output": rows[other]["output"]}
    return found


if __name__ == "__main__":
    main()
