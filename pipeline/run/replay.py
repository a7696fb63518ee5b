"""Build a run's shards again from its journal, without one request.

Replies are read afresh by the code as it is now: with the same code the shards are the same bytes,
and after a parser or a filter has changed they are what that makes of the same replies. A stage
that drafts takes slots as they were recorded, with the demonstrations that they showed; a row that
now needs a reply which the journal does not hold is dropped as `not_asked`. `synth run` then goes
on and asks only for those. With other settings the replay is a run of its own beside the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.manifest import RunManifest
from pipeline.run.events import Listener
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare


def replay(
    run: Path, listener: Listener, *, out: Path | None = None, settings: Sequence[str] = ()
) -> RunManifest:
    """Replay a run in its own folder, or in `out` with `settings` (`stage.key=value`) over its own.

    Raises `InputError` where there is no run, `RecipeError` for other settings in its own folder.
    """
    if not (run / "run.json").is_file():
        raise InputError(f"{run} is not a run: there is no run.json in it.")
    seeds = run / "inputs" / "seeds.jsonl"
    options = Options(
        recipe=str(run / "recipe.yaml"),
        out=str(run if out is None else out),
        made_from=None if out is None else str(run),
        seeds=str(seeds) if seeds.is_file() else None,
        settings=[f"prompts={run / 'inputs'}", *settings],
        needs_key=False,
        is_replay=True,
    )
    return execute(prepare(options), listener)
