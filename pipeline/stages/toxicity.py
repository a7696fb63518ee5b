"""Score how toxic rows are with a classifier of this machine; whoever decides comes later.

The classifier is a folder of `transformers` for the classification of sequences, whose labels are
the six classes of the Jigsaw challenge (Toxic Comment Classification, 2018). It is handed to the
stage as a function; the scores are columns, so that `filter` moves its thresholds
(`toxicity_scores`) without anything being scored again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from filters.toxicity import CLASSES
from pipeline.stage import IDENTITY, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import TEXTS, with_all_turns

ALIASES = {
    "toxic": "toxicity",
    "severe_toxic": "severe_toxicity",
    "identity_attack": "identity_hate",
}
"""What models that were trained on the same data call some of the classes."""
Classify = Callable[[Sequence[str]], list[list[float]]]
"""Texts in, of each the scores of its classes, 0 to 1, in the order of `CLASSES`."""


class Config(StageConfig):
    """Settings of `toxicity`: the `classifier`'s folder, and which texts of a row it reads.

    Each text is read by itself, as much of its beginning as the model takes, and a row has the
    highest score of its texts; null without any.
    """

    classifier: Annotated[str, IDENTITY] = ""
    texts: Annotated[
        tuple[Literal["instruction", "input", "output"], ...], Field(min_length=1), IDENTITY
    ] = ("instruction", "input", "output")


def classes_of(folder: Path) -> list[int]:
    """The places of the six classes among a model's labels, in the order of `CLASSES`.

    Raises `ValueError` where the folder is no such model.
    """
    if not folder.is_dir():
        raise ValueError("there is no such folder")
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        labels = {int(at): str(name) for at, name in found["id2label"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its config.json names no labels ({type(error).__name__})") from error
    places = {}
    for at, name in labels.items():
        plain = name.lower().replace(" ", "_").replace("-", "_")
        places[ALIASES.get(plain, plain)] = at
    if missing := [name for name in CLASSES if name not in places]:
        known = ", ".join(labels.values())[:200]
        raise ValueError(f"it has no label {', '.join(missing)}; it has {known}")
    if not any(folder.glob("*.safetensors")):
        raise ValueError("it has no weights in safetensors")
    return [places[name] for name in CLASSES]


def judge(frame: pl.DataFrame, config: Config, *, classify: Classify) -> pl.DataFrame:
    """A row an entry, in order: no reason to drop it, and its scores."""
    whole = with_all_turns(frame)
    texts = [whole[name].cast(pl.String).fill_null("").to_list() for name in config.texts]
    wanted = list(dict.fromkeys(text for column in texts for text in column if text.strip()))
    found = dict(zip(wanted, classify(wanted), strict=True))
    rows: list[list[float | None]] = []
    for row in zip(*texts, strict=True):
        scores = [found[text] for text in row if text in found]
        highest = [max(each) for each in zip(*scores, strict=True)]
        rows.append([*highest] if scores else [None] * len(CLASSES))
    scored = pl.DataFrame(rows, dict.fromkeys(CLASSES, pl.Float64), orient="row")
    nothing = {name: pl.lit(None, pl.String) for name in ("reason", "detail", "ref")}
    return scored.with_columns(**nothing)


def judge_parts(parts: Parts, config: Config, scratch: Path, *, classify: Classify) -> pl.DataFrame:
    """The same for parts of the rows."""
    return pl.concat([judge(frame, config, classify=classify) for frame in parts()])


def files(config: Config) -> tuple[str, ...]:
    """The files of the classifier that its scores depend on."""
    folder = Path(config.classifier)
    wanted = ("*.json", "*.safetensors", "*.txt", "*.model")
    return tuple(sorted(str(path) for pattern in wanted for path in folder.glob(pattern)))


STAGE = FilterStage(
    name="toxicity",
    version=1,
    summary="score rows with a classifier of this machine, six classes; drops nothing",
    config=Config,
    judge=judge,
    reads=lambda config: ("row_id", *TEXTS),
    writes=CLASSES,
    may_read=("messages",),
    judge_parts=judge_parts,
    files=files,
    classifier=lambda config: config.classifier,
)
