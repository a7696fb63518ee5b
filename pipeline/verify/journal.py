"""The journal: numbers, CRCs, sums, and a reply to every request that a row names."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from pipeline.errors import DamagedError
from pipeline.inspect import Run
from pipeline.stage import NOT_ASKED, AskingStage, ChainStage
from pipeline.teacher.journal import LOST, REPLY, ModelUsage
from pipeline.teacher.journal_reader import JournalReader
from pipeline.verify.report import Report
from pipeline.verify.stage import CountedStage


@dataclass
class Answers:
    """What the journals of a run and of those before it say: which keys have a reply.

    `own` are the stages that the run's own journal has records of, and `last` is its last number.
    """

    keys: set[bytes] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    last: int = 0

    def hex_keys(self) -> pl.Series:
        """The keys as rows carry them."""
        return pl.Series("key", [key.hex() for key in self.keys], pl.String)

    def are_elsewhere(self, run: Run, stage: CountedStage) -> bool:
        """Whether a stage's replies are in the journal of the run that it was copied from."""
        return run.manifest.made_from is not None and stage.state.name not in self.own


def check_journal(run: Run, counted: list[CountedStage], report: Report) -> Answers:
    """Numbers, CRCs, and a reply to every request that a row names."""
    answers = Answers()
    asking = [stage for stage in counted if isinstance(stage.kind, AskingStage)]
    if not asking:
        return answers
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
                stages, last = _check_records(reader, name, answers.keys, report)
                if number == 0:
                    answers.own, answers.last = stages, last
                    _check_usage(
                        reader, [one for one in asking if one.state.name in stages], report
                    )
        except DamagedError as error:
            report.find(name, str(error))
    keys = answers.hex_keys()
    for stage in asking:
        is_copied = answers.are_elsewhere(run, stage)
        if is_copied and run.lineage[-1].manifest.made_from is not None:
            report.notes.append(
                f"{stage.state.folder} was copied from {run.manifest.made_from}, which is not "
                "there any more: its requests cannot be looked up."
            )
            continue
        _check_requests(stage, keys, report)
        used = max((part.journal for part in stage.state.parts), default=0)
        if used > answers.last and not is_copied:
            report.find(
                "journal.sqlite", f"ends at record {answers.last}, {stage.books} used {used}"
            )
    return answers


def _check_records(
    reader: JournalReader, name: str, answered: set[bytes], report: Report
) -> tuple[set[str], int]:
    stages: set[str] = set()
    last, n_lost = 0, 0
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
        elif record.kind == LOST:
            n_lost += 1
        else:
            stages.add(record.stage)
            if record.kind == REPLY:
                answered.add(record.key)
    if n_lost:
        report.notes.append(f"{name}: lost before a repair, and marked: {n_lost} records.")
    return stages, last


def _check_usage(reader: JournalReader, stages: list[CountedStage], report: Report) -> None:
    for stage in stages:
        if not stage.state.complete:
            continue
        counted = {one.model: one for one in reader.usage(stage.state.name)}
        listed = {
            one.model: ModelUsage(
                one.model,
                one.requests,
                one.replies,
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
                    f"usage of {model} says {_numbers(listed.get(model))}, the journal "
                    f"{_numbers(counted.get(model))} "
                    "(requests, replies, input tokens, output tokens, replies without usage)",
                )


def _numbers(usage: ModelUsage | None) -> tuple[int, ...] | None:
    return usage and usage[1:]


def _check_requests(stage: CountedStage, answered: pl.Series, report: Report) -> None:
    """The last request of a row is the one that this stage made for it.

    A conversation may leave a row as it came, without a request of its own. A replay sends none.
    """
    last = _last_requests(stage)
    other = last.filter(
        pl.col("stage").ne_missing(stage.state.name),
        pl.col("drop_reason").ne_missing(NOT_ASKED),
    )
    if isinstance(stage.kind, ChainStage):
        other = other.clear()
    for (part, is_kept), rows in other.group_by("part", "is_kept", maintain_order=True):
        report.find(
            _shard_of(stage, part, is_kept),
            f"{rows.height} rows name no request of this stage, {rows['row_id'][0]} first",
        )
    lost = rows_without_reply(stage, answered)
    for (part, is_kept), rows in lost.group_by("part", "is_kept", maintain_order=True):
        report.find(
            _shard_of(stage, part, is_kept),
            f"no reply in the journal for {rows.height} rows, {rows['row_id'][0]} first",
        )


def rows_without_reply(stage: CountedStage, answered: pl.Series) -> pl.DataFrame:
    """The rows whose last request, if it is this stage's own, has no reply among `answered`."""
    last = _last_requests(stage)
    own = last.filter(
        pl.col("stage").eq_missing(stage.state.name),
        pl.col("drop_reason").ne_missing(NOT_ASKED),  # what a replay could not ask
    )
    if stage.state.namesake is not None:  # rows came in whose requests another run's stage made
        own = own.filter(pl.col("row_id").str.starts_with(f"{stage.state.namesake}-"))
    return own.filter(~pl.col("key").is_in(answered.implode()).fill_null(value=False))


def _last_requests(stage: CountedStage) -> pl.DataFrame:
    """One row a row of the stage: its id, part and half, why dropped, its last request."""
    if "request" not in stage.rows.columns:
        empty = {"row_id": pl.String, "part": pl.Int32, "is_kept": pl.Boolean}
        texts = ("drop_reason", "stage", "key")
        return pl.DataFrame(schema=empty | dict.fromkeys(texts, pl.String))
    rows = stage.rows
    if "drop_reason" not in rows.columns:
        rows = rows.with_columns(drop_reason=pl.lit(None, pl.String))
    last = pl.col("request").struct
    return rows.select(
        "row_id", "part", "is_kept", "drop_reason", last.field("stage"), last.field("key")
    )


def _shard_of(stage: CountedStage, part: object, is_kept: object) -> str:
    entry = stage.state.parts[int(str(part))].half("kept" if is_kept else "dropped")
    return f"{stage.state.folder}/{entry.path}"
