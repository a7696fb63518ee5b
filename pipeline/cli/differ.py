"""The command that compares two runs: `diff`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.look import RunArgument
from pipeline.counted import counted
from pipeline.terminal import safe, shorten

if TYPE_CHECKING:
    from pipeline.diff import Difference

LEAST_WIDTH = 20


def diff(
    first: RunArgument,
    second: Annotated[str, typer.Argument(help="The run that it is compared with.")],
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows shown of each kind.")] = 5,
    full: Annotated[bool, typer.Option("--full", help="Whole texts, with their lines.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with all rows.")] = False,
) -> None:
    """Say which rows a second run gained, lost and changed, by id and by text."""
    from pipeline import diff as comparing
    from pipeline.inspect import open_run

    runs = [open_run(one) for one in (first, second)]
    found = comparing.difference(*runs)
    for run in runs:
        if run.manifest.status != "finished":
            said = (
                f"{run.path} is not finished: compared is what its last stage with rows has kept."
            )
            sys.stderr.write(f"{safe(said)}\n")
    if as_json:
        sys.stdout.write(json.dumps(comparing.as_tree(found), indent=1, default=str) + "\n")
        return
    width = shutil.get_terminal_size().columns
    sys.stdout.writelines(f"{line}\n" for line in _lines(found, limit, width, full=full))


def _lines(found: Difference, limit: int, width: int, *, full: bool) -> Iterator[str]:
    renamed = f", {found.renamed.height} with the same texts under another id"
    yield (
        f"{counted(found.same, 'row')} the same{renamed if found.renamed.height else ''}; "
        f"{found.gained.height} gained, {found.lost.height} lost, {found.changed.height} changed"
    )
    if found.lost.height:
        by = ", ".join(f"{rule} {n}" for rule, n in found.lost_by().items())
        yield safe(f"lost to {by}", keep_lines=False)
    if found.changed.height:
        columns = ", ".join(f"{name} {n}" for name, n in found.changed_columns().items() if n)
        yield f"changed in {columns.replace('_', ' ')}"
    for sign, kind, frame in (
        ("+", "gained", found.gained),
        ("-", "lost", found.lost),
        ("~", "changed", found.changed),
    ):
        for row in frame.head(limit).iter_rows(named=True):
            yield ""
            yield from _row(sign, row, width, full=full)
        if 0 < limit < frame.height:
            yield f"\n... {frame.height - limit} more {kind}: --limit, or --json for all"


def _row(sign: str, row: dict[str, Any], width: int, *, full: bool) -> Iterator[str]:
    from pipeline.diff import CONVERSATION, NEW, TEXTS, as_shown

    yield safe(f"{sign} {row['row_id']}", keep_lines=False)
    if row.get("stage") is not None:
        detail = f": {row['drop_detail']}" if row["drop_detail"] else ""
        said = f"{row['stage']}, {row['drop_reason']}{detail}"
        yield from _text("dropped by", said, width, full=False)
    for name in TEXTS:
        label = "conversation" if name == CONVERSATION else name.replace("_", " ")
        old = as_shown(row[name], name)
        new = as_shown(row.get(f"{NEW}{name}", row[name]), name)
        if new != old:
            yield from _text(label, old or "(nothing)", width, full=full)
            yield from _text("is now", new or "(nothing)", width, full=full)
        else:
            yield from _text(label, old, width, full=full)


def _text(label: str, text: str | None, width: int, *, full: bool) -> Iterator[str]:
    if not text:
        return
    room = max(width - 17, LEAST_WIDTH)
    first, *others = safe(text).split("\n") if full else [shorten(text, room)]
    yield f"    {label:12} {first}"
    yield from (" " * 17 + line for line in others)
