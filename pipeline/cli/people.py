"""Commands that hand rows to people, and take what they say of them: `push`, `review`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.look import RunArgument
from pipeline.counted import counted
from pipeline.errors import InputError
from pipeline.terminal import safe

if TYPE_CHECKING:
    from pipeline.inspect import Run


def push(
    run: RunArgument,
    repository: Annotated[str, typer.Argument(help="ORG/NAME, a dataset repository of the hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="Everybody may read it; else it is made private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be put there; nothing is sent.")
    ] = False,
) -> None:
    """Put the data set of a finished run on the Hugging Face hub; the token is in HF_TOKEN."""
    from pipeline import push as pushing

    pushing.check_name(repository)
    parcel = pushing.pack(run)
    for note in parcel.notes:
        sys.stderr.write(f"{safe(note)}\n")
    said = f"{counted(len(parcel.files), 'file')} ({counted(parcel.bytes, 'byte')})"
    if dry_run:
        sys.stdout.writelines(
            f"{safe(name)} ({counted(path.stat().st_size, 'byte')})\n"
            for name, path in sorted(parcel.files.items())
        )
        who = "everybody" if public else "nobody but its members"
        sys.stderr.write(f"{said} would go to {repository}, which {who} may read. Nothing sent.\n")
        return
    address = pushing.push(parcel, repository, is_public=public)
    sys.stdout.write(f"{safe(address)}\n")
    sys.stderr.write(f"{said} are in {repository}.\n")


def review(
    run: RunArgument,
    sample: Annotated[int, typer.Option("--sample", min=1, help="So many rows at most.")] = 200,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", help="What this stage kept and dropped, also with --read; else all."
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Two answers to one instruction, which is better.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Draws other rows.")] = 42,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder; default review-NAME in this one.")
    ] = None,
    read: Annotated[
        Path | None, typer.Option("--read", help="A sheet that was marked, CSV or Parquet.")
    ] = None,
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", help="Who marked it, where the sheet names nobody.")
    ] = None,
) -> None:
    """Write a sheet of rows for people to mark, or read one back and say how far they agree."""
    from pipeline.inspect import open_run
    from pipeline.review import sheet

    found = open_run(run)
    if read is not None:
        _read(found, read, reviewer, stage)
        return
    kind: sheet.Kind = "pair" if pairs else "row"
    folder = out or Path(f"review-{found.path.resolve().name}")
    sheet.check_place(folder)
    rows = sheet.draw(found, kind, sample, seed, stage)
    for path in sheet.write(folder, rows, kind, seed):
        sys.stdout.write(f"{safe(str(path))}\n")
    sys.stderr.write(
        f"{counted(rows.height, 'row')} to be marked: put {', '.join(sheet.WORDS[kind])} or "
        "nothing into the column verdict of one of the two, then  "
        f"synth review {safe(shlex.quote(run))} --read SHEET\n"
    )


def _read(run: Run, path: Path, reviewer: str | None, stage: str | None) -> None:
    """Take a marked sheet in, and say how far all that was marked agrees."""
    from pipeline.review import agreement, books, sheet
    from pipeline.run.folder import check_links
    from pipeline.run.lock import locked

    if run.manifest.status != "finished":
        raise InputError(f"{run.path} is not finished: its rows may still change. Finish it first.")
    marks = sheet.read(path, run, reviewer, stage)
    if not marks:
        raise InputError(f"{path} has no verdict: fill in the column verdict.")
    with locked(run.path):
        check_links(run.path)
        is_new = books.add(run.path, marks, path.read_bytes())
    said = f"{counted(len(marks), 'verdict')} read" if is_new else "that sheet was read before"
    sys.stderr.write(f"{said}; they are in {safe(str(run.path / books.FOLDER))}.\n")
    sys.stdout.writelines(f"{safe(line)}\n" for line in agreement.lines(run))
