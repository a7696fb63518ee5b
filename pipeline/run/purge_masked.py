"""Take out of a run's journal what its recipe has masked everywhere else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import polars as pl

from pipeline.errors import InputError
from pipeline.inspect import open_run
from pipeline.run.folder import check_links
from pipeline.run.lock import locked
from pipeline.run.masking import Masking, gather
from pipeline.run.telling import KEY, recorded
from pipeline.teacher.blanking import blank
from pipeline.teacher.journal import INTENT, TOLD, Record
from pipeline.teacher.journal_reader import JournalReader


def purge_masked(path: Path) -> int:
    """Take the text of every reply out of the journal in which the recipe masks something.

    So are the values that the run's input told, and the replies that hold what any other reply
    tells. The rows stay as they are, and nothing of them is bought again; a replay has no such
    reply any more. Gives how many replies. Raises `InputError` where the run masks nothing or is
    not finished.
    """
    run = open_run(path)
    kinds = run.manifest.identity.get("mask")
    if not kinds:
        raise InputError(f"{path} masks nothing (mask): its journal holds what its rows hold.")
    with locked(path) as lease:
        check_links(path)
        if not all(state.complete for state in run.stage_manifests):
            raise InputError(f"{path} is not finished: finish it first, then purge.")
        journal = path / "journal.sqlite"
        masking = Masking(kinds)
        with JournalReader(journal) as reader:
            _learn_all(masking, reader)
            keys = {
                record.key
                for _, record in reader.records()
                if record is not None
                and (record.kind == TOLD or any(map(masking.hides, _said(record))))
            }
        return blank(journal, keys, lease.epoch) if keys else 0


def keys_told(path: Path, kinds: list[str]) -> set[bytes]:
    """What a journal holds of input that is taken out: the values that it told, and who says them.

    Whose values they are nobody knows any more. So all go, and the replies that only they mask.
    """
    journal = path / "journal.sqlite"
    if not kinds or not journal.is_file():
        return set()
    alone, masking = Masking(kinds), Masking(kinds)
    with JournalReader(journal) as reader:
        for piece, kind in recorded(reader).items():
            masking.told.add(kind, piece)
        if not masking.told:
            return set()
        return {KEY} | {
            record.key
            for _, record in reader.records()
            if record is not None
            and record.kind != TOLD
            and any(masking.text(said) != alone.text(said) for said in _said(record))
        }


def _learn_all(masking: Masking, reader: JournalReader) -> None:
    """What the input told, and what replies tell of each other."""
    for piece, kind in recorded(reader).items():
        masking.told.add(kind, piece)
    for _, record in reader.records():
        if record is not None and record.kind not in (INTENT, TOLD):
            masking.learn(pl.Series("said", _said(record), pl.String))


def _said(record: Record) -> list[str]:
    """The texts of a record: of its note, and of the reply, as it came and as JSON means it."""
    raw = record.raw.decode(errors="replace")
    texts = [str(record.note.get("detail", "")), raw]
    with contextlib.suppress(ValueError, RecursionError):
        gather(json.loads(raw), texts)
    return texts
