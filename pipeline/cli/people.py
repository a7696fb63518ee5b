"""Commands that hand rows to other people: `push`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline.cli.look import RunArgument
from pipeline.counted import counted
from pipeline.terminal import safe


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
