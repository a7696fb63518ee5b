"""The command that makes a page of a run, for people to look at: `report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.look import RunArgument
from pipeline.report.limits import MOST_ROWS
from pipeline.terminal import safe


def report(
    run: RunArgument,
    other: Annotated[str | None, typer.Argument(help="Another run, to be set beside it.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; default report-NAME.html in this folder."),
    ] = None,
    rows: Annotated[
        int,
        typer.Option("--rows", min=1, help="So many rows at most, drawn from every rule."),
    ] = MOST_ROWS,
) -> None:
    """Make one HTML file of a run: funnel, distributions, and its rows to be looked through."""
    from pipeline import outside
    from pipeline.inspect import open_run
    from pipeline.report import page

    runs = [open_run(one) for one in (run, other) if one is not None]
    name = "-and-".join(one.path.resolve().name for one in runs)
    path = out or Path(f"report-{name}.html")
    outside.check_file(path)
    outside.refuse_inside(path)
    content = page.render(runs, most_rows=rows).encode(errors="replace")
    with outside.replacing(path) as file:
        file.write(content)
    sys.stdout.write(f"{safe(str(path))}\n")
    sys.stderr.write(f"{len(content) / 1e6:.1f} MB: open it in a browser.\n")
