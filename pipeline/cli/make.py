"""Commands that make something: `run`, `plan`, `export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import progress
from pipeline.errors import LockedError, StorageError, SynthError
from pipeline.run.events import Listener, Message, to_all
from pipeline.terminal import safe

if TYPE_CHECKING:
    from pipeline.manifest import RunManifest
    from pipeline.run.prepare import Prepared

OFFLINE = (
    "The teacher is 'offline': a grammar that ships with synth, not a language model. Name one "
    "with --teacher openai:MODEL (a server of your own: openai:MODEL@http://host:8000/v1)."
)

RecipeArgument = Annotated[
    str, typer.Argument(help="A built-in recipe, the path of your own, or the name of one stage.")
]
OutOption = Annotated[
    str | None, typer.Option("--out", help="The run directory; default runs/RECIPE.")
]
InputOption = Annotated[
    str | None,
    typer.Option("--input", help="Start from a run, RUN:STAGE, a file or a folder of files."),
]
TeacherOption = Annotated[
    str | None,
    typer.Option("--teacher", help="openai:MODEL, openai:MODEL@http://host:8000/v1, or offline."),
]
JudgeOption = Annotated[str | None, typer.Option("--judge", help="The model that rates.")]
ScorerOption = Annotated[
    str | None, typer.Option("--scorer", help="The model that measures token loss.")
]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", help="Seed tasks of your own, as JSON Lines.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: stage.key=value. May be given again."),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="The target of a generating recipe, else the rows read."),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", help="Make a new run (--out) from this one; what it asked is reused."),
]
UntilOption = Annotated[str | None, typer.Option("--until", help="The last stage to run.")]


def run(
    recipe: RecipeArgument,
    out: OutOption = None,
    input_: InputOption = None,
    teacher: TeacherOption = None,
    judge: JudgeOption = None,
    scorer: ScorerOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    limit: LimitOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    no_stall_stop: Annotated[
        bool, typer.Option("--no-stall-stop", help="Go on though hardly anything new comes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON on stdout.")] = False,
) -> None:
    """Run a recipe; the same command goes on with a run that was ended."""
    from pipeline.run.prepare import Options, prepare

    prepared = prepare(
        Options(
            recipe=recipe,
            out=out,
            input=input_,
            teacher=teacher,
            judge=judge,
            scorer=scorer,
            seeds=seeds,
            settings=settings or (),
            limit=limit,
            made_from=from_,
            until=until,
            may_stall=no_stall_stop,
        )
    )
    with progress.shown(as_json=as_json) as listener:
        state = _work(prepared, listener)
    data = prepared.run / "data" if state.data else prepared.run / state.stages[-1] / "kept"
    progress.last_word(
        f"{state.kept} rows in {data} (made in {state.seconds:.1f} s). "
        f"Look at them with  synth show {prepared.run}",
        as_json=as_json,
        status=state.status,
        kept=state.kept,
        data=str(data),
        seconds=state.seconds,
    )


def _work(prepared: Prepared, listener: Listener) -> RunManifest:
    """Say who writes, run, and note in the run's log how it began and ended."""
    from pipeline.run.execute import execute

    if prepared.is_offline_by_default:
        listener(Message(OFFLINE))
    for name in dict.fromkeys(step.half_of or step.name for _, step in prepared.recipe.left_out):
        listener(Message(f"{name} is left out: no judge is named (--judge openai:MODEL)."))
    for name in prepared.judged_by_teacher:
        listener(Message(f"{name}: no judge is named, so the teacher judges (--judge names one)."))
    if prepared.is_finished:
        return execute(prepared, listener)
    log = progress.to_log(prepared.run / "log.jsonl")
    try:
        state = execute(prepared, to_all(listener, log))
    except SynthError as error:
        if prepared.run.is_dir() and not isinstance(error, LockedError | StorageError):
            log(Message(f"ended with {error.exit_code}: {error}"))
        raise
    log(Message(f"ended with 0: {state.status}, {state.kept} rows kept"))
    return state


def replay(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    out: Annotated[
        str | None, typer.Option("--out", help="A new run directory; needed for --set.")
    ] = None,
    settings: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON on stdout.")] = False,
) -> None:
    """Build a run's shards again from its journal, without one request."""
    from pipeline.run.replay import replay as replay_run

    with progress.shown(as_json=as_json) as listener:
        target = None if out is None else Path(out)
        state = replay_run(Path(run), listener, out=target, settings=settings or ())
    progress.last_word(
        f"{run} is replayed: {state.status}, {state.kept} rows, nothing was asked.",
        as_json=as_json,
        status=state.status,
        kept=state.kept,
    )


def plan(
    recipe: RecipeArgument,
    out: OutOption = None,
    input_: InputOption = None,
    teacher: TeacherOption = None,
    judge: JudgeOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    limit: LimitOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Say what a run would ask, in requests, tokens and money, before anything is sent."""
    from pipeline.run.estimate import estimate
    from pipeline.run.prepare import Options, prepare

    options = Options(
        recipe=recipe,
        out=out,
        input=input_,
        teacher=teacher,
        judge=judge,
        seeds=seeds,
        settings=settings or (),
        limit=limit,
        needs_key=False,
    )
    found = estimate(prepare(options))
    sys.stdout.write(
        json.dumps(found.as_dict(), indent=1) + "\n" if as_json else safe(found.as_text())
    )


def export(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    form: Annotated[str, typer.Option("--format", help="parquet, jsonl or csv.")] = "parquet",
    out: Annotated[
        str | None, typer.Option("--out", help="The file to write; default RUN/export.FORMAT.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Whose kept rows; default the last stage's.")
    ] = None,
) -> None:
    """Write the kept rows of a run as one file."""
    from pipeline.run.export_file import write

    path = write(Path(run), form, Path(out) if out else None, stage)
    sys.stdout.write(f"{path}\n")
