"""What is looked up in a run's rows, by those who tell their history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import polars as pl

from pipeline.errors import DamagedError
from pipeline.manifest import Half, RunManifest, StageManifest
from pipeline.readable import not_permitted
from pipeline.seed_tasks import SeedTask
from pipeline.teacher.journal import Record

ROW_ID = re.compile(r"(?P<stage>.+)-(?P<slot>\d{6,})-(?P<item>\d{2,})")


class Rows(Protocol):
    """What is needed of a run (`pipeline.inspect.Run`)."""

    @property
    def manifest(self) -> RunManifest:
        """Its manifest."""

    @property
    def stage_manifests(self) -> tuple[StageManifest, ...]:
        """The stages that have begun, in order."""

    @property
    def ancestors(self) -> Sequence[Rows]:
        """It and the runs that it came from."""

    @property
    def seeds(self) -> Mapping[str, SeedTask]:
        """Its seed tasks by id."""

    def scan(self, stage: str | None, half: Half) -> pl.LazyFrame:
        """One half of a stage."""

    def journal(self, key: str | bytes) -> Sequence[Record]:
        """The journal's records of one key."""


def talk(turns: Sequence[Mapping[str, str]] | None) -> str:
    """A conversation as people read it, turn by turn under its roles; empty without one.

    >>> talk([{"role": "user", "content": "Hello."}]), talk(None)
    ('user: Hello.', '')
    """
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns or ())


def rows_where(frame: pl.LazyFrame, condition: pl.Expr, *columns: str) -> list[dict[str, Any]]:
    """The rows of a frame that meet a condition. Raises `DamagedError` for a bad shard."""
    try:
        found = frame.filter(condition)
        return (found.select(columns) if columns else found).collect().to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        if (refused := not_permitted(error, "a shard")) is not None:
            raise refused from error
        raise DamagedError(f"a shard cannot be read: {error}. See  synth verify.") from error
