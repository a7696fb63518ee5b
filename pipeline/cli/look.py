"""Commands that look into a run and change nothing: `status`, `show`, `why`, `verify`.

Data goes to stdout, what is said about it to stderr. Text from models and files is made safe to
print.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.counted import counted
from pipeline.errors import DamagedError, RecipeError
from pipeline.readable import not_permitted
from pipeline.terminal import safe, shorten

if TYPE_CHECKING:
    import polars as pl

    from pipeline.inspect import Run
    from pipeline.manifest import Half
    from pipeline.status import StageStatus

RunArgument = Annotated[str, typer.Argument(help="A run directory.")]
SAMPLE_SEED = 42
ENDINGS = {
    2: "mend what it says, then {again}",
    3: "raise the cap with --set budget..., then {again}",
    5: "mend what the teacher refuses (key, model, quota, parameter), then {again}",
    6: "synth verify {run}  names what is damaged,  synth repair {run}  mends it, then {again}",
    7: "make room, or give the process what it wants, then {again}",
    70: "report it: that is a bug; then {again}",
}
"""What to do after an exit code, where it is more than to start again."""
TEXTS = ("instruction", "input", "output")


def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how far a run is and what its books hold, also while it is at work."""
    from pipeline.inspect import open_run
    from pipeline.status import holder, stage_statuses

    found = open_run(run)
    stages = stage_statuses(found)
    worker = holder(found.path)
    if as_json:
        _print_json(_status_tree(found, stages, worker), indent=1)
    else:
        sys.stdout.write(status_text(found, stages, worker))


def show(
    run: RunArgument,
    stage: Annotated[
        str | None,
        typer.Argument(help="A stage; default the last one with rows, with --dropped all."),
    ] = None,
    dropped: Annotated[bool, typer.Option("--dropped", help="What it dropped, and why.")] = False,
    where: Annotated[
        str | None,
        typer.Option("--where", help='Only these rows, in SQL: "nearest_score > 0.5".'),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rows.")] = 10,
    page: Annotated[
        int, typer.Option("--page", min=1, help="Which page, of --limit rows each.")
    ] = 1,
    columns: Annotated[
        str | None,
        typer.Option("--columns", help='A table of these, a line a row: "row_id,rating,output".'),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=1, help="So many rows from all over, the same each time."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Whole texts, with their lines.")] = False,
    tree: Annotated[
        str | None,
        typer.Option("--tree", help="All that the row of this id was rewritten from and into."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines, all columns.")] = False,
) -> None:
    """Print rows that a stage kept or dropped."""
    from pipeline.inspect import open_run

    found = open_run(run)
    if tree is not None:
        _show_tree(found, stage and found.stage(stage).name, tree, as_json=as_json)
        return
    if sample is not None and page > 1:
        raise RecipeError("--page turns the pages of all rows, --sample draws some: name one.")
    half: Half = "dropped" if dropped else "kept"
    scans = _scans(found, stage, half)
    before = (page - 1) * limit
    frame, total = _rows(found, scans, where, before, limit, sample)
    if as_json:
        for row in frame.iter_rows(named=True):
            _print_json(row)
        return
    width = shutil.get_terminal_size().columns
    if columns is not None:
        sys.stdout.writelines(f"{line}\n" for line in _columns(frame, columns, width))
    else:
        for number, row in enumerate(frame.iter_rows(named=True)):
            sys.stdout.write("\n" if number else "")
            sys.stdout.writelines(line + "\n" for line in _row_lines(row, width, full=full))
    of = f"{frame.height} of " if frame.height < total else ""
    if before:
        of = f"{before + 1} to {before + frame.height} of " if frame.height else "no more of "
    chosen = of + counted(total, "row")
    matching = " that match" if where is not None else ""
    sys.stderr.write(f"{chosen} {half} by {', '.join(scans)}{matching}.\n")


def _scans(run: Run, stage: str | None, half: Half) -> dict[str, pl.LazyFrame]:
    """The rows to be shown by stage: the one that is named, or the last that has rows.

    Without a name dropped rows are those of all stages that dropped some; `drop_stage` says which.
    """
    import polars as pl

    last = run.stage(stage).name
    if stage is not None or half == "kept":
        return {last: run.scan(last, half)}
    begun = [state for state in run.stage_manifests if state.parts]
    names = [state.name for state in begun if state.dropped] or [state.name for state in begun]
    return {name: run.scan(name, half).with_columns(drop_stage=pl.lit(name)) for name in names}


def _show_tree(run: Run, stage: str | None, row_id: str, *, as_json: bool) -> None:
    from pipeline.tree import as_lines
    from pipeline.tree import tree as find_tree

    found = find_tree(run, stage, row_id)
    if as_json:
        _print_json(dataclasses.asdict(found), indent=1)
        return
    width = shutil.get_terminal_size().columns
    sys.stdout.writelines(f"{line}\n" for line in as_lines(found, width, marked=row_id))


def why(
    run: RunArgument,
    row: Annotated[str, typer.Argument(help="A row's id, or a seed task's.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell a row's whole history: from what, asked of whom, and which rule dropped it."""
    from pipeline.inspect import open_run

    found = open_run(run).why(row)
    if as_json:
        _print_json(found.as_dict(), indent=1)
    else:
        sys.stdout.write(found.as_text(shutil.get_terminal_size().columns))


def verify(run: RunArgument) -> None:
    """Recount everything: checksums, schema, rows, journal; exit code 6 where it is damaged."""
    from pipeline.verify import verify as verify_run

    report = verify_run(run)
    for note in report.notes:
        sys.stderr.write(f"{safe(note)}\n")
    sys.stdout.write(
        f"{safe(run)} is whole: {counted(report.rows, 'row')} in {counted(report.files, 'file')} "
        f"({counted(report.bytes, 'byte')}), {counted(report.records, 'journal record')}.\n"
    )


def _print_json(tree: object, indent: int | None = None) -> None:
    # escaped to ASCII: a terminal obeys some control characters that JSON leaves as they are
    sys.stdout.write(json.dumps(tree, indent=indent, default=str) + "\n")


def _rows(
    run: Run,
    scans: dict[str, pl.LazyFrame],
    where: str | None,
    before: int,
    limit: int,
    sample: int | None,
) -> tuple[pl.DataFrame, int]:
    """The chosen rows, stage by stage in order, and how many there were to choose from.

    They are the `limit` after the first `before`, or so many of a `sample`.
    """
    import polars as pl

    stages = " or ".join(scans)
    frame = whole = pl.concat(scans.values(), how="diagonal")
    if where is not None:
        frame = frame.filter(_condition(frame, where))
    try:
        total = frame.select(pl.len()).collect().item()
        if sample is None:
            return frame.slice(before, limit).collect(), total
        chosen = sorted(Random(SAMPLE_SEED).sample(range(total), min(sample, total)))
        frame = frame.with_row_index("at").filter(pl.col("at").is_in(chosen)).drop("at")
        return frame.collect(), total
    except (pl.exceptions.PolarsError, OSError) as error:
        if where is not None and not isinstance(error, OSError):  # the shards are whole
            raise _refused(where, error, whole) from error
        if (refused := not_permitted(error, f"a shard of {stages}")) is not None:
            raise refused from error
        raise DamagedError(
            f"a shard of {stages} cannot be read: {error}. See  synth verify {run.path}"
        ) from error


def _condition(frame: pl.LazyFrame, where: str) -> pl.Expr:
    """`where` as an expression over the frame. Raises `RecipeError` with the columns there are."""
    import polars as pl

    columns = frame.collect_schema()
    try:
        condition = pl.sql_expr(where)
        kind = columns.to_frame().select(condition).to_series().dtype
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise _refused(where, error, frame) from error
    if kind != pl.Boolean:
        raise _refused(where, f"it gives {kind}, not yes or no", frame)
    return condition


def _refused(where: str, problem: object, frame: pl.LazyFrame) -> RecipeError:
    """What to say of a condition that cannot be used; of what polars says, what it is about."""
    said = str(problem).partition("\n\nThis error occurred")[0].partition("; valid columns")[0]
    return RecipeError(
        f"--where {shorten(where, 200)}: {shorten(said, 200)}. Write a condition in SQL, such as "
        f"\"row_id LIKE '%-00'\"; the columns are {', '.join(frame.collect_schema())}."
    )


NARROWEST, WIDEST_NUMBER = 8, 12


def _columns(frame: pl.DataFrame, named: str, width: int) -> Iterator[str]:
    """Some columns as a table that fits the width: numbers as wide as they are, texts share it.

    Raises `RecipeError` with the columns there are.
    """
    from rich.cells import cell_len, set_cell_size

    names = [name.strip() for name in named.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in frame.columns]):
        said = f"there is no column {', '.join(unknown)}" if names else "it names no column"
        raise RecipeError(f"--columns {named}: {said}; there are {', '.join(frame.columns)}.")
    cells = {name: [_cell(value) for value in frame[name].to_list()] for name in names}
    needed = {name: max(len(name), *map(cell_len, cells[name]), 0) for name in names}
    wide = [name for name in names if needed[name] > WIDEST_NUMBER]
    left = width - sum(needed[name] for name in names if name not in wide) - 2 * (len(names) - 1)
    for name in sorted(wide, key=needed.__getitem__):  # a short one leaves room for the others
        share = max(left // len(wide), NARROWEST)
        needed[name] = min(needed[name], share)
        left -= needed[name]
        wide.remove(name)
    for row in (names, *zip(*(cells[name] for name in names), strict=True)):
        fitted = (
            set_cell_size(shorten(cell, needed[name]), needed[name])
            for name, cell in zip(names, row, strict=True)
        )
        yield "  ".join(fitted).rstrip()


def _cell(value: object) -> str:
    """A value on one line, safe to print."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return safe(" ".join(str(value).split()), keep_lines=False)


def _row_lines(row: dict[str, Any], width: int, *, full: bool) -> Iterator[str]:
    from pipeline.rows import talk

    room = max(width - 15, 20)
    yield safe(str(row["row_id"]), keep_lines=False)
    facts = []
    if "drop_reason" in row:
        detail = f": {row['drop_detail']}" if row["drop_detail"] else ""
        facts.append(("stage", row.get("drop_stage")))
        facts += [("dropped", f"{row['drop_reason']}{detail}"), ("it met", row["drop_ref"])]
    facts += [(name, row.get(name)) for name in (*TEXTS, "reasoning")]
    facts.append(("other output", row.get("other_output")))
    facts.append(("conversation", talk(row.get("messages"))))
    facts.append(("final answer", row.get("final_answer")))
    facts += [
        (safe(f"by {one['model']}", keep_lines=False), one["answer"])
        for one in row.get("evaluations") or ()
    ]
    facts += [
        (name.replace("_", " "), f"{row[name]:.6g}")
        for name in ("rating", "pair_rating", "perplexity", "ifd")
        if row.get(name) is not None
    ]
    facts += [("because", row.get("rating_reason")), ("preferred", row.get("preferred"))]
    if row.get("votes") is not None:
        share = "" if row.get("agreement") is None else f", agreement {row['agreement']:.4f}"
        facts.append(("votes", f"{row['votes']}{share}"))
    if row.get("nearest_id") is not None:
        score = f"{row['nearest_score']:.4f} " if row["nearest_score"] is not None else ""
        facts.append(("nearest", f"{score}{row['nearest_id']}"))
    facts.append(("parent", row.get("parent_id")))
    for label, text in facts:
        if not text:
            continue
        first, *others = safe(text).split("\n") if full else [shorten(text, room)]
        yield f"  {label:12} {first}"
        yield from (" " * 15 + line for line in others)


def _status_tree(run: Run, stages: list[StageStatus], worker: str | None) -> dict[str, Any]:
    state = run.manifest
    return {
        "run": str(run.path),
        "recipe": state.recipe,
        "status": state.status,
        "worker": worker,
        "teacher": state.teacher,
        "started": state.started,
        "finished": state.finished,
        "ended": None if state.ended is None else state.ended.model_dump(),
        "seconds": state.seconds,
        "made_from": state.made_from,
        "synth": state.synth,
        "kept": state.kept,
        "unused_replies": state.unused_replies,
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "next": _next_step(run, stages, worker),
    }


def _next_step(run: Run, stages: list[StageStatus], worker: str | None) -> str:
    from pipeline.manifest import took_the_last

    if run.manifest.status == "finished":
        if (last := took_the_last(run.stage_manifests)) is not None and not run.manifest.kept:
            return f"{last.name} kept no row: synth show {run.path} {last.name} --dropped"
        return f"synth show {run.path}   synth verify {run.path}"
    if worker is not None:
        return f"it is at work ({worker}); look again in a while"
    ended = run.manifest.ended
    if (ended is None or ended.exit_code == 4) and (said := _next_of_stalled(run, stages)):
        return said
    again = f"start the same command again, or  synth run {run.path}  to go on"
    if run.manifest.status == "running":
        return f"its process has ended without a word: {again}"
    return ENDINGS.get(ended.exit_code if ended else 0, "{again}").format(again=again, run=run.path)


def _next_of_stalled(run: Run, stages: list[StageStatus]) -> str | None:
    """What to do about a stage that ended short of itself; null where none did."""
    from pipeline.run.stalling import BROKEN, STALLED, is_no_teacher

    for stage in stages:
        show = f"synth show {run.path} {stage.name} --dropped"
        if stage.state == BROKEN:
            return (
                f"do what it says of {stage.name}, then the same command, or a new run with  "
                f"--from {run.path} --out NEW  where the filter or the recipe was changed"
            )
        if stage.state == STALLED and is_no_teacher(stage.dropped_by_reason):
            return f"what {stage.name} asked is no teacher: {show}, then a new run at its address"
        if stage.state == STALLED:
            return (
                f"{stage.name} no longer found anything new: {show}, then a new run, or the same "
                "command with --no-stall-stop"
            )
    return None


def status_text(run: Run, stages: list[StageStatus], worker: str | None) -> str:
    """A run's status for people, safe to print; `worker` is who works on it now."""
    from pipeline.status import asked

    state = run.manifest
    is_dead = state.status == "running" and worker is None
    seconds = f"{state.seconds:.1f} s at work, " if state.seconds else ""  # said at an end alone
    lines = [
        f"{run.path}: {'cut off' if is_dead else state.status}",
        f"recipe {state.recipe}, {asked(state)}, synth {state.synth}",
        f"started {state.started}, {seconds}{_rows_kept(run, stages)}"
        + (
            f", {counted(state.unused_replies, 'reply', 'replies')} not used"
            if state.unused_replies
            else ""
        ),
    ]
    if state.ended is not None and state.status == "stopped":
        lines.append(f"ended with {state.ended.exit_code}: {state.ended.message}")
    if state.made_from is not None:
        lines.append(f"made from {state.made_from}")
    lines += ["", *_table(stages), ""]
    for stage in stages:
        for name, value in stage.measures.items():
            meaning = " (1: all labels even)" if name == "label_balance" else ""
            shown = round(value, 4)
            lines.append(f"{stage.name}: {name.replace('_', ' ')} {shown}{meaning}")
        lines += _round_lines(stage)
        if stage.histogram:
            counts = ", ".join(f"{rating} {n}" for rating, n in stage.histogram.items())
            lines.append(f"{stage.name}: ratings {counts}")
        lines += [
            f"{stage.name}: {name} {one['rating']:.0f} ({one['comparisons']:g} comparisons: "
            f"{one['won']:g} won, {one['tied']:g} tied, {one['lost']:g} lost)"
            for name, one in stage.leaderboard.items()
        ]
        lines += [
            f"{stage.name}: {model}: "
            + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in by.items())
            for model, by in stage.results.items()
        ]
        for column, by in stage.rows_by.items():
            shares = ", ".join(_share(value, n, sum(by.values())) for value, n in by.items())
            lines.append(f"{stage.name}: {column.replace('_', ' ')} {shares}")
        if stage.not_measured:
            named = (f"{why.replace('_', ' ')} {n}" for why, n in stage.not_measured.items())
            lines.append(f"{stage.name}: not measured: {', '.join(named)}")
    for name in state.judged_by_teacher:
        lines.append(f"{name}: no judge was named, so the teacher judged")
    lines.append(f"next: {_next_step(run, stages, worker)}")
    return safe("\n".join(lines)) + "\n"


def _share(name: str, rows: int, whole: int) -> str:
    return f"{name} {rows} ({rows / whole:.1%})" if whole else f"{name} {rows}"


def _rows_kept(run: Run, stages: list[StageStatus]) -> str:
    """The rows of the run; while it works those of the stage at work, which it is still to say."""
    from pipeline.status import OUTDATED

    begun = [stage for stage in stages if stage.state not in ("not begun", OUTDATED)]
    if run.manifest.status != "running" or not begun:
        return f"{counted(run.manifest.kept, 'row')} kept"
    return f"{counted(begun[-1].kept, 'row')} kept by {begun[-1].name} so far"


def _round_lines(stage: StageStatus) -> list[str]:
    """One line a round of evolution, under the names of what was measured."""
    if not stage.by_round:
        return []
    names = list(stage.by_round[0])
    rows = [[f"{one[name]:.2f}".removesuffix(".00") for name in names] for one in stage.by_round]
    heads = [name.replace("_", " ") for name in names]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        f"{stage.name if number == 0 else '':{len(stage.name)}}  "
        + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for number, cells in enumerate([heads, *rows])
    ]


def _table(stages: list[StageStatus]) -> list[str]:
    """The stages in columns; numbers to the right, the rules of a stage below it."""
    head = (
        "stage",
        "state",
        "candidates",
        "kept",
        "dropped",
        "requests",
        "tokens",
        "cost",
        "seconds",
    )
    rows = [
        (
            stage.name,
            stage.state,
            *(str(n) for n in (stage.candidates, stage.kept, stage.dropped)),
            str(stage.requests or ""),
            f"{stage.input_tokens} + {stage.output_tokens}" if stage.requests else "",
            "" if stage.cost_usd is None else f"${stage.cost_usd}",
            f"{stage.seconds:.1f}" if stage.seconds else "",
        )
        for stage in stages
    ]
    used = [at for at in range(len(head)) if at < 5 or any(row[at] for row in rows)]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = []
    for row, stage in zip((head, *rows), (None, *stages), strict=True):
        cells = [row[at].ljust(widths[at]) if at < 2 else row[at].rjust(widths[at]) for at in used]
        lines.append("  ".join(cells).rstrip())
        if stage is not None and stage.dropped_by_reason:
            named = ", ".join(f"{reason} {n}" for reason, n in stage.dropped_by_reason.items())
            lines.append(f"{'':{widths[0]}}  dropped: {named}")
    return lines
