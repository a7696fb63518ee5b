"""Fine-tuning learns what an instruction has to do with its answer, and not answers alone."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

from pipeline.train.settings import Config
from pipeline.train.sft import Job, run
from tests.train.test_sft import write

ANSWERS = {"colour": "red", "animal": "cat", "weekday": "Monday", "metal": "iron", "tree": "oak"}
WAYS = ("Name a {}.", "Which {} do you like?", "Say any {} that you know.", "{}?", "A {}, please.")
SETTINGS = Config.model_validate(
    {"method": "full", "learning_rate": 3e-3, "max_steps": 80, "batch": 16, "device_batch": 16}
)
MARGIN = 0.15
"""With this seed it is 0.31."""


def asked(rng: Random, number: int) -> dict[str, Any]:
    """A row that asks for a kind of thing, in one of a few ways."""
    kind = rng.choice(sorted(ANSWERS))
    turns = [
        {"role": "user", "content": rng.choice(WAYS).format(kind)},
        {"role": "assistant", "content": ANSWERS[kind]},
    ]
    return {"turns": turns, "held_out": number % 4 == 0, "curriculum": None}


def exchanged(rows: list[dict[str, Any]], rng: Random) -> list[dict[str, Any]]:
    """The rows with the answers of those that are trained on in another order."""
    trained = [row for row in rows if not row["held_out"]]
    answers = [row["turns"][1] for row in trained]
    rng.shuffle(answers)
    left = iter(answers)
    return [
        row if row["held_out"] else row | {"turns": [row["turns"][0], next(left)]} for row in rows
    ]


def test_answers_of_other_rows_teach_less_about_held_out_ones(tmp_path: Path) -> None:
    rng = Random(1)
    rows = [asked(rng, number) for number in range(120)]
    losses: dict[str, float] = {}
    base = None
    for arm, its_rows in (("paired", rows), ("exchanged", exchanged(rows, rng))):
        (tmp_path / arm).mkdir()
        told: list[dict[str, Any]] = []
        path = write(tmp_path / f"{arm}.parquet", its_rows)
        run(Job(base, path, tmp_path / arm, SETTINGS, 1), told.append)
        base = base or tmp_path / "paired" / "base"
        losses[arm] = told[-1]["done"]["held_out_loss"]
    assert losses["paired"] < (1 - MARGIN) * losses["exchanged"], losses
