"""Gather what the texts of a run tell, before the first of them is written.

`my password is ...` in one row says what stands alone in another, in whatever file, shard or reply.
So all texts that rows come from are read once before they are taken in, however many rows a run
wants of them: what is masked then depends on no limit, no shard, and no place where a run was cut
off. Seed tasks are read so when they are loaded.

Replies come one by one, and a run that goes on, or is replayed, has to mask them alike when its
input is gone. So a run that asks keeps the values in the one place where plain text is: a record of
its journal, before any request. A run that asks nobody keeps nothing, and reads its input again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from pipeline import manifest
from pipeline.manifest import StageManifest
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.inputs.columns import Batch
from pipeline.run.judging import recut
from pipeline.run.masking import NO_TEXTS, gather
from pipeline.run.prepare import Prepared
from pipeline.run.source import Entries
from pipeline.stage import AskingStage, Drop
from pipeline.teacher.journal import TOLD, Journal
from pipeline.teacher.journal_reader import JournalReader

KEY = hashlib.blake2b(TOLD.encode(), digest_size=16).digest()
"""The key of the record that holds what was told."""
AT_ONCE = 2**22
"""So many characters of rows are searched at once."""


async def learn(context: Context) -> None:
    """Have the run's masking know what its input tells, and what the journals say that it told."""
    masking, prepared = context.masking, context.prepared
    if not masking:
        return
    before = recorded(context.journal)
    asks = any(isinstance(step.stage, AskingStage) for step in prepared.recipe.steps)
    if not _has_all_rows(prepared) or (asks and not before):
        _learn_source(context)
    old = recorded(context.old) if asks and context.old is not None else {}
    for pieces in (old, before):
        for piece, kind in pieces.items():
            if kind in masking.kinds:
                masking.told.add(kind, piece)
    if masking.told.is_full:
        context.listener(
            Message(
                f"Texts tell more than {len(masking.told.pieces)} values that are masked: those "
                "after them are masked in their own rows alone."
            )
        )
    if asks and masking.told.pieces.keys() - before.keys():
        raw = json.dumps(masking.told.pieces).encode()
        context.journal.append(TOLD, KEY, "", 0, {"copied": True}, raw)  # it is no purchase
        await context.journal.settle()


def recorded(journal: Journal | JournalReader) -> dict[str, str]:
    """The values that a journal says were told, each with its kind."""
    return {
        piece: kind
        for record in journal.by_key(KEY)
        for piece, kind in (json.loads(record.raw) if record.raw else {}).items()
    }


def _has_all_rows(prepared: Prepared) -> bool:
    """Whether nothing is left to be taken in."""
    if prepared.source is None:
        return True
    path = prepared.run / manifest.stage_folder(0, prepared.steps[0].name) / "stage.json"
    if not path.is_file():
        return False
    state = manifest.read(StageManifest, path)
    return state.complete and state.next_slot >= prepared.source.total


def _learn_source(context: Context) -> None:
    """Read all rows that there are, taken in or not."""
    source = context.prepared.source
    for _, one in source.parts if source is not None else ():
        if one.shards:
            for table in recut(one.shards, context.prepared.recipe.settings.shard_rows):
                context.ending.check()
                context.masking.learn_table(table)
        elif one.is_columns:
            for batch in one.batches(0):
                context.ending.check()
                if _is_unicode(batch):
                    context.masking.learn_table(batch.columns)
                else:
                    _learn_rows(context, (one.read(0, row) for row in batch.records(one.config)))
        else:
            _learn_rows(context, one.entries(0))


def _is_unicode(batch: Batch) -> bool:
    try:
        batch.columns.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _learn_rows(context: Context, found: Iterator[Entries]) -> None:
    """What rows tell, and what is said of those that are dropped."""
    texts: list[str] = []
    size = 0
    for entries in found:
        first = len(texts)
        for entry in entries:
            row = entry.row | entry.columns() if isinstance(entry, Drop) else entry
            gather({name: value for name, value in row.items() if name not in NO_TEXTS}, texts)
        size += sum(map(len, texts[first:]))
        if size > AT_ONCE:
            context.ending.check()
            context.masking.learn(pl.Series("said", texts, pl.String))
            texts, size = [], 0
    context.masking.learn(pl.Series("said", texts, pl.String))
