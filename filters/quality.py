"""How good a row is for a classifier that learned from rows which somebody labelled.

scikit-learn (extra `quality`) does the learning: a logistic regression over hashed words and pairs
of words, of the instruction with the input and of the output apart. It sees words, not truth: how
far it can be trusted is what `figures` say, of labelled rows that it did not learn from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.shingles import tokens
from filters.verdict import verdict

PACKAGE = "sklearn"
TEXTS = ("instruction", "input", "output")
LABELS = {"good": 1, "bad": 0, "1": 1, "0": 0, "true": 1, "false": 0, "1.0": 1, "0.0": 0}
LEAST = 20  # rows of each label: with fewer the figures say nothing
FEATURES = 2**18
CHARACTERS = 4_000  # of a text that are read
DECIMALS = 6


@dataclass(frozen=True)
class Labelled:
    """Rows that somebody labelled, each text once: what is asked, what is answered, 1 for good."""

    texts: tuple[tuple[str, str], ...]
    labels: NDArray[np.int64]


def read_labelled(path: str) -> Labelled:
    """The rows of a Parquet or JSON Lines file with `instruction`, `output`, `label`, `input`.

    A label is good or bad, true or false, 1 or 0. Raises `ValueError` that says what is wrong with
    the file: unreadable, columns or labels that are none, a row labelled both ways, too few rows.
    """
    place = Path(path)
    try:
        frame = pl.read_parquet(path) if place.suffix == ".parquet" else pl.read_ndjson(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise ValueError(f"{path} cannot be read: {said}") from error
    if missing := [name for name in ("instruction", "output", "label") if name not in frame]:
        raise ValueError(f"{path} has no column {', '.join(missing)}")
    if "input" not in frame.columns:
        frame = frame.with_columns(input=pl.lit(None, pl.String))
    labels = frame["label"].cast(pl.String).str.to_lowercase().str.strip_chars()
    return _checked(path, frame, labels)


def _checked(path: str, frame: pl.DataFrame, labels: pl.Series) -> Labelled:
    unknown = sorted({one or "null" for one in labels.to_list()} - LABELS.keys())
    if unknown:
        raise ValueError(f"{path}: a label is good or bad, not {', '.join(unknown[:5])}")
    found: dict[tuple[str, str], int] = {}
    both = 0
    for text, label in zip(texts_of(*(frame[name] for name in TEXTS)), labels, strict=True):
        both += found.setdefault(text, LABELS[label]) != LABELS[label]
    if both:
        raise ValueError(f"{path}: {both} rows are labelled good and bad")
    counts = {name: list(found.values()).count(label) for name, label in (("good", 1), ("bad", 0))}
    for name, count in counts.items():
        if count < LEAST:
            raise ValueError(f"{path} has {count} {name} rows; {LEAST} of each label are needed")
    return Labelled(tuple(found), np.array(list(found.values()), np.int64))


def texts_of(instruction: pl.Series, input: pl.Series, output: pl.Series) -> list[tuple[str, str]]:
    """What is asked and what is answered, of each row."""
    columns = [one.cast(pl.String).fill_null("").to_list() for one in (instruction, input, output)]
    return [(f"{a}\n{b}"[:CHARACTERS], c[:CHARACTERS]) for a, b, c in zip(*columns, strict=True)]


def quality(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    labelled: str,
    at_least: float | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Drop rows that are good with a probability of less than `at_least`; null drops none.

    The classifier learns from the rows of the file `labelled` (`read_labelled`), the same from the
    same file and `seed`. Returns one row an entry, in order: `reason` (String, `low_quality`, null
    where the row is kept), `detail` (String) and `quality` (Float64, 0 to 1, six decimals).
    """
    scores = scored(_model(labelled, _stamp(labelled), seed), texts_of(instruction, input, output))
    bound = -1.0 if at_least is None else at_least
    reason = ["low_quality" if score < bound else None for score in scores]
    detail = [f"{score:.4f}, below {bound:g}" if score < bound else None for score in scores]
    return verdict(reason, detail).with_columns(quality=pl.Series(scores, dtype=pl.Float64))


def scored(model: Any, texts: list[tuple[str, str]]) -> list[float]:  # noqa: ANN401 - untyped package
    """The probability of each text to be good."""
    if not texts:
        return []
    found = model.predict_proba(_features(texts))[:, 1]
    return [float(one) for one in np.round(found, DECIMALS)]


def figures(
    labelled: str, *, at_least: float | None = None, folds: int = 5, seed: int = 0
) -> dict[str, float]:
    """How well labelled rows are told that the classifier did not learn from, fold by fold.

    `cross_validated_auc` is how often a good row has the higher score of a good and a bad one (0.5
    by chance); with a threshold (0.5 where there is none) `cross_validated_precision` is the share
    of good rows among those above it, `cross_validated_recall` the share of good rows that are.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    given = _read(labelled, _stamp(labelled))
    scores = np.zeros(len(given.labels))
    split = StratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for learn, tell in split.split(scores, given.labels):
        model = _fit([given.texts[at] for at in learn], given.labels[learn], seed)
        scores[tell] = scored(model, [given.texts[at] for at in tell])
    is_kept = scores >= (0.5 if at_least is None else at_least)
    right = float((is_kept & (given.labels == 1)).sum())
    return {
        "labelled_good": int(given.labels.sum()),
        "labelled_bad": int((given.labels == 0).sum()),
        "cross_validated_auc": round(float(roc_auc_score(given.labels, scores)), 4),
        "cross_validated_precision": round(right / max(float(is_kept.sum()), 1.0), 4),
        "cross_validated_recall": round(right / float(given.labels.sum()), 4),
    }


def _stamp(path: str) -> int:
    return Path(path).stat().st_mtime_ns


@lru_cache(maxsize=2)
def _read(path: str, stamp: int) -> Labelled:
    return read_labelled(path)


@lru_cache(maxsize=2)
def _model(path: str, stamp: int, seed: int) -> Any:  # noqa: ANN401 - untyped package
    given = _read(path, stamp)
    return _fit(list(given.texts), given.labels, seed)


def _fit(texts: list[tuple[str, str]], labels: NDArray[np.int64], seed: int) -> Any:  # noqa: ANN401
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=10.0, class_weight="balanced", solver="liblinear", max_iter=1000, random_state=seed
    )
    return model.fit(_features(texts), labels)


def _features(texts: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - untyped package
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(analyzer=words_of, n_features=FEATURES, alternate_sign=False)
    return hashed.transform(texts)


def words_of(text: tuple[str, str]) -> Iterable[str]:
    """The words of what is asked and of what is answered, told apart, and the pairs of neighbours.

    >>> list(words_of(("Say it", "It")))
    ['asked say', 'asked it', 'asked say it', 'said it', 'said 0']
    """
    for place, part in zip(("asked", "said"), text, strict=True):
        found = tokens(part)
        for word in found:
            yield f"{place} {word}"
        for one, other in pairwise(found):
            yield f"{place} {one} {other}"
        if place == "said":
            yield f"{place} {len(found).bit_length() - 1 if found else 'nothing'}"
