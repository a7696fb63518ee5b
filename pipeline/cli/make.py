"""Commands that make something: `run`, `replay`, `repair`, `plan`, `export`."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import progress
from pipeline.counted import counted
from pipeline.errors import InputError, LockedError, StallError, StorageError, SynthError
from pipeline.run.events import Listener, Message, to_all
from pipeline.terminal import safe

if TYPE_CHECKING:
    from pipeline.manifest import RunManifest
    from pipeline.run.prepare import Options, Prepared

OFFLINE = (
    "The teacher is 'offline': a grammar that ships with synth, not a language model. Name one "
    "with --teacher openai:MODEL (a server of your own: openai:MODEL@http://host:8000/v1; a GPU "
    "here: vllm:MODEL)."
)
NOTHING_MASKED = "What the rows have masked is nowhere in the journal (any more)."

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="A built-in recipe, the path of your own, the name of one stage, or a run directory "
        "to go on with."
    ),
]
OutOption = Annotated[
    str | None, typer.Option("--out", help="The run directory; default runs/RECIPE.")
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Start from a run, RUN:STAGE, a file or a folder of files. Given again (NAME=PATH "
        "names one), from several, one after the other.",
    ),
]
TeacherOption = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        help="openai:MODEL, openai:MODEL@http://host:8000/v1, vllm:MODEL (started here), offline.",
    ),
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
SizesOption = Annotated[
    str | None,
    typer.Option(
        "--sizes", help="Train on these shares of the rows too, 0.1,0.3,1: evaluate.sizes."
    ),
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
    sizes: SizesOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    no_stall_stop: Annotated[
        bool, typer.Option("--no-stall-stop", help="Go on though hardly anything new comes.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be asked, as  synth plan  does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON on stdout.")] = False,
) -> None:
    """Run a recipe; the same command goes on with a run that was ended."""
    from pipeline.run.prepare import Options, prepare

    options = Options(
        recipe=recipe,
        out=out,
        input=_one(input_),
        inputs=_several(input_),
        teacher=teacher,
        judge=judge,
        scorer=scorer,
        seeds=seeds,
        settings=settings or (),
        limit=limit,
        sizes=sizes,
        made_from=from_,
        until=until,
        may_stall=no_stall_stop,
    )
    if dry_run:
        _print_plan(options, as_json=as_json)
        return
    prepared = prepare(options)
    with progress.shown(as_json=as_json) as listener:
        state = _work(prepared, listener)
    is_exported = until is None and (prepared.run / "data" / "README.md").is_file()
    data = prepared.run / "data" if is_exported else prepared.run / state.stages[-1] / "kept"
    model = f", a model in {prepared.run / 'model'}" if (prepared.run / "model").is_dir() else ""
    report = prepared.run / "evaluation" / "report.md"
    model += f", results in {report}" if state.results else ""
    nothing_left = _nothing_left(prepared.run, state)
    progress.last_word(
        nothing_left
        or f"{counted(state.kept, 'row')} in {data}{model} (made in {state.seconds:.1f} s). "
        f"Look at them with  synth show {prepared.run}",
        as_json=as_json,
        status=state.status,
        kept=state.kept,
        data=str(data),
        seconds=state.seconds,
    )
    _exit_if_empty(nothing_left)


def _one(given: list[str] | None) -> str | None:
    """The data set, where one is named."""
    return given[0] if given is not None and len(given) == 1 else None


def _several(given: list[str] | None) -> tuple[str, ...]:
    """The data sets, where several are named."""
    return tuple(given) if given is not None and len(given) > 1 else ()


def _nothing_left(run: Path, state: RunManifest) -> str | None:
    """What is said of a run that came to its end without a row; null where it has some.

    Null too where none came to it: there was nothing to lose.
    """
    from pipeline import manifest
    from pipeline.manifest import StageManifest, took_the_last

    if state.kept:
        return None
    paths = [run / folder / "stage.json" for folder in state.stages]
    stage = took_the_last(manifest.read(StageManifest, path) for path in paths)
    if stage is None:
        return None
    return (
        f"No row is left in {run}: {stage.name} dropped all of "
        f"{progress.dropped_text(stage.dropped_by_reason, most=3)}. "
        f"Look at them with  synth show {run} {stage.name} --dropped"
    )


def _exit_if_empty(nothing_left: str | None) -> None:
    """End with the code of a stop where no row is left, so that no scheduler goes on with it."""
    if nothing_left is not None:
        raise typer.Exit(StallError.exit_code)


def _work(prepared: Prepared, listener: Listener) -> RunManifest:
    """Say who writes, run, and note in the run's log how it began and ended."""
    from pipeline.evaluate.report import said_of_kin
    from pipeline.run.evaluated import judge_family
    from pipeline.run.execute import execute

    if prepared.is_offline_by_default and not prepared.is_finished and _asks_offline(prepared):
        listener(Message(OFFLINE))
    for said in prepared.recipe.said_of_left_out():
        listener(Message(said))
    for name in prepared.judged_by_teacher:
        listener(Message(f"{name}: no judge is named, so the teacher judges (--judge names one)."))
    kin = judge_family(prepared.recipe, prepared.models, prepared.evaluated | prepared.bases)
    if kin is not None:
        listener(Message(said_of_kin(kin)))
    if prepared.is_finished:
        return execute(prepared, listener)
    gc.freeze()  # what was imported stays: it is not to be gone through again and again
    log = progress.to_log(prepared.run / "log.jsonl")
    try:
        state = execute(prepared, to_all(listener, log))
    except SynthError as error:
        if prepared.run.is_dir() and not isinstance(error, LockedError | StorageError):
            log(Message(f"ended with {error.exit_code}: {error}"))
        raise
    code = 0 if _nothing_left(prepared.run, state) is None else StallError.exit_code
    log(Message(f"ended with {code}: {state.status}, {counted(state.kept, 'row')} kept"))
    return state


def _asks_offline(prepared: Prepared) -> bool:
    """Whether a stage is left that asks the offline teacher."""
    from pipeline.run.askers import has_work

    return any(
        has_work(prepared, model)
        for model in prepared.models.values()
        if model.uri.scheme == "offline" and model.settings.uri is None
    )


def replay(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    out: Annotated[
        str | None, typer.Option("--out", help="A new run directory; needed for --set.")
    ] = None,
    settings: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON on stdout.")] = False,
) -> None:
    """Build a run's shards again from its journal, without one request."""
    from pipeline.inspect import open_run
    from pipeline.run.replay import replay as replay_run
    from pipeline.stage import NOT_ASKED

    with progress.shown(as_json=as_json) as listener:
        target = None if out is None else Path(out)
        where = target or Path(run)
        state = replay_run(Path(run), listener, out=target, settings=settings or ())
    made = f"{run} is replayed" if target is None else f"{target} is {run} replayed"
    begun = open_run(where).stage_manifests
    left = sum(stage.dropped_by_reason.get(NOT_ASKED, 0) for stage in begun)
    unasked = (
        f" {counted(left, 'row is', 'rows are')} not_asked: no reply is recorded;  "
        f"synth run {where}  asks for {'it' if left == 1 else 'them'}."
    )
    nothing_left = None if left else _nothing_left(where, state)
    progress.last_word(
        f"{made}: {state.status}, {counted(state.kept, 'row')}, nothing was asked."
        + (unasked if left else "")
        + (f" {nothing_left}" if nothing_left else ""),
        as_json=as_json,
        status=state.status,
        kept=state.kept,
    )
    _exit_if_empty(nothing_left)


def repair(run: Annotated[str, typer.Argument(help="A run directory.")]) -> None:
    """Mend a damaged run: keep what is whole, take back the rest, put the original aside."""
    from pipeline.run.repair import repair as repair_run

    done = repair_run(run)
    if done.before is None:
        sys.stdout.write(f"{safe(run)} is whole: nothing to repair.\n")
        return
    for line in done.lines:
        sys.stdout.write(f"{safe(line)}\n")
    sys.stdout.write(
        f"{safe(run)} is repaired; what was there before is in {safe(str(done.before))}. Start the "
        "command that made it again: only replies that are lost are asked for.\n"
    )


def purge(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    row: Annotated[str | None, typer.Option("--row", help="The id of the row.")] = None,
    sha256: Annotated[
        str | None, typer.Option("--hash", help="The SHA-256 of one of its texts.")
    ] = None,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="And all rows that were made from it.")
    ] = False,
    model: Annotated[
        bool, typer.Option("--model", help="And the model that the run has trained on it.")
    ] = False,
    masked: Annotated[
        bool,
        typer.Option("--masked", help="Keep the rows; take out replies that the run has masked."),
    ] = False,
) -> None:
    """Take a row out of a run for good: out of shards, journal, models and data set."""
    from pipeline.run.purge import purge as purge_rows
    from pipeline.run.purge_masked import purge_masked

    if masked:
        if row is not None or sha256 is not None or descendants or model:
            raise InputError(
                "--masked is for all rows: leave --row, --hash, --descendants and --model out."
            )
        n = purge_masked(Path(run))
        replies = counted(n, "reply", "replies")
        said = f"{replies} in the journal held what the rows have masked: taken out."
        sys.stdout.write(f"{said if n else NOTHING_MASKED}\n")
        return

    found = purge_rows(Path(run), row=row, sha256=sha256, descendants=descendants, model=model)
    if found.was_out:
        said = f"{', '.join(found.rows)}: not there any more, purged before: nothing to do."
        sys.stdout.write(safe(said) + "\n")
        return
    n_files = counted(len(found.files), "file is", "files are")
    n_replies = counted(found.replies, "reply", "replies")
    have = "has" if found.replies == 1 else "have"
    lines = [
        f"{', '.join(found.rows)}: taken out; {n_files} written anew, and {n_replies} in the "
        f"journal {have} no text any more.",
        *(
            ["data/README.md was changed by hand and is left as it is: mend its counts."]
            if found.has_own_card
            else []
        ),
        *(
            [
                "scorer/ is removed: the tiny models in it learned from the row. Measures stay; a "
                "raised --limit trains new ones on the rows that are there then, and measures anew."
            ]
            if found.has_lost_models
            else []
        ),
        *(
            [
                "model/ is removed: it had learned from the row. synth run sft --input "
                f"{run} --out NEW trains another on the rows that are left."
            ]
            if found.has_lost_trained
            else []
        ),
        "Copies may remain in",
        *(f"    {place}" for place in found.copies),
    ]
    sys.stdout.write(safe("\n".join(lines)) + "\n")


def plan(
    recipe: RecipeArgument,
    out: OutOption = None,
    input_: InputOption = None,
    teacher: TeacherOption = None,
    judge: JudgeOption = None,
    scorer: ScorerOption = None,
    seeds: SeedsOption = None,
    settings: SetOption = None,
    limit: LimitOption = None,
    sizes: SizesOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Say what a run would ask, in requests, tokens and money, before anything is sent."""
    from pipeline.run.prepare import Options

    options = Options(
        recipe=recipe,
        out=out,
        input=_one(input_),
        inputs=_several(input_),
        teacher=teacher,
        judge=judge,
        scorer=scorer,
        seeds=seeds,
        settings=settings or (),
        limit=limit,
        sizes=sizes,
        made_from=from_,
        until=until,
    )
    _print_plan(options, as_json=as_json)


def _print_plan(options: Options, *, as_json: bool) -> None:
    from pipeline.run.estimate import estimate
    from pipeline.run.prepare import prepare

    found = estimate(prepare(dataclasses.replace(options, needs_key=False)))
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
    sys.stdout.write(f"{safe(str(path))}\n")
