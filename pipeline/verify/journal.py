"""The journal: numbers, CRCs, sums, and a reply to every request that a row names."""

from __future__ import annotations

import polars as pl

from pipeline.errors import DamagedError
from pipeline.inspect import Run
from pipeline.stage import NOT_ASKED, AskingStage, ChainStage
from pipeline.teacher.journal import INTENT
from pipeline.teacher.journal_reader import JournalReader
from pipeline.verify.report import Report
from pipeline.verify.stage import CountedStage


def check_journal(run: Run, counted: list[CountedStage], report: Report) -> None:
    """Numbers, CRCs, and a reply to every request that a row names."""
    asking = [stage for stage in counted if isinstance(stage.kind, AskingStage)]
    if not asking:
        return
    own: set[str] = set()  # stages with records in this run's own journal
    answered: set[bytes] = set()
    last = 0
    for number, member in enumerate(run.lineage):
        path = member.path / "journal.sqlite"
        name = "journal.sqlite" if number == 0 else str(path)
        if not path.is_file():
            report.find(name, "not there")
            continue
        try:
            with JournalReader(path) as reader:
                for complaint in reader.complaints():
                    report.find(name, complaint)
                stages, highest = _check_records(reader, name, answered, report)
                if number == 0:
                    own, last = stages, highest
                    _check_usage(reader, [one for one in asking if one.state.name in own], report)
        except DamagedError as error:
            report.find(name, str(error))
    for stage in asking:
        is_copied = run.manifest.made_from is not None and stage.state.name not in own
        if is_copied and run.lineage[-1].manifest.made_from is not None:
            report.notes.append(
                f"{stage.state.folder} was copied from {run.manifest.made_from}, which is not "
                "there any more: its requests cannot be looked up."
            )
            continue
        _check_requests(stage, answered, report)
        used = max((part.journal for part in stage.state.parts), default=0)
        if used > last and not is_copied:
            report.find("journal.sqlite", f"ends at record {last}, {stage.books} used {used}")


def _check_records(
    reader: JournalReader, name: str, answered: set[bytes], report: Report
) -> tuple[set[str], int]:
    stages: set[str] = set()
    last = 0
    for number, record in reader.records():
        report.records += 1
        if number != last + 1:
            gap = (
                f"record {last + 1} is"
                if number == last + 2
                else f"records {last + 1} to {number - 1} are"
            )
            report.find(name, f"{gap} missing")
        last = number
        if record is None:
            report.find(name, f"record {number} is damaged: its CRC does not hold")
        else:
            stages.add(record.stage)
            if record.kind != INTENT:
                answered.add(record.key)
    return stages, last


def _check_usage(reader: JournalReader, stages: list[CountedStage], report: Report) -> None:
    for stage in stages:
        if not stage.state.complete:
            continue
        counted = {
            model: (replies, requests, n_in, n_out, unknown)
            for model, requests, replies, n_in, n_out, unknown in reader.usage(stage.state.name)
        }
        listed = {
            one.model: (
                one.replies,
                one.requests,
                one.input_tokens,
                one.output_tokens,
                one.unknown_usage,
            )
            for one in stage.state.usage
        }
        for model in sorted(counted.keys() | listed.keys(), key=str):  # a damaged note has none
            if counted.get(model) != listed.get(model):
                report.find(
                    stage.books,
                    f"usage of {model} says {listed.get(model)}, the journal {counted.get(model)} "
                    "(replies, requests, input tokens, output tokens, replies without usage)",
                )


def _check_requests(stage: CountedStage, answered: set[bytes], report: Report) -> None:
    """The last request of a row is the one that this stage made for it.

    A conversation may leave a row as it came, without a request of its own.
    """
    if "requests" not in stage.rows.columns:
        return
    may_ask_nothing = isinstance(stage.kind, ChainStage)
    last = stage.rows.select(
        "row_id", "part", "is_kept", pl.col("requests").list.last().alias("last")
    )
    if "drop_reason" in stage.rows.columns:  # what a replay could not ask has no reply
        has_reply = pl.col("drop_reason").ne_missing(NOT_ASKED)
        last = last.filter(stage.rows.select(has_reply).to_series())
    fields = last.select(
        "row_id",
        "part",
        "is_kept",
        pl.col("last").struct.field("stage"),
        pl.col("last").struct.field("key"),
    )
    for (part, is_kept), rows in fields.group_by("part", "is_kept", maintain_order=True):
        entry = stage.state.parts[int(str(part))]
        where = f"{stage.state.folder}/{entry.kept.path if is_kept else entry.dropped.path}"
        other = rows.filter(pl.col("stage").ne_missing(stage.state.name))
        if other.height and not may_ask_nothing:
            report.find(
                where,
                f"{other.height} rows name no request of this stage, {other['row_id'][0]} first",
            )
        unknown = [
            row_id
            for row_id, name, key in rows.select("row_id", "stage", "key").iter_rows()
            if name == stage.state.name and _bytes_of(key) not in answered
        ]
        if unknown:
            report.find(
                where,
                f"no reply in the journal for {len(unknown)} rows, {unknown[0]} first",
            )


def _bytes_of(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
