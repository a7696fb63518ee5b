"""Build a run's shards again from its journal, without one request.

Replies are read afresh by the code as it is now: with the same code the shards are the same bytes,
and after a parser or a filter has changed they are what that makes of the same replies. A stage
that drafts takes slots as they were recorded, with the demonstrations that they showed; a row that
now needs a reply which the journal does not hold is dropped as `not_asked`. `synth run` then goes
on and asks only for those.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.manifest import RunManifest
from pipeline.run.events import Listener
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare


def replay(run: Path, listener: Listener) -> RunManifest:
    """Replay a run in its own folder. Raises `InputError` where there is none."""
    if not (run / "run.json").is_file():
        raise InputError(f"{run} is not a run: there is no run.json in it.")
    seeds = run / "inputs" / "seeds.jsonl"
    options = Options(
        recipe=str(run / "recipe.yaml"),
        out=str(run),
        seeds=str(seeds) if seeds.is_file() else None,
        settings=[f"prompts={run / 'inputs'}"],
        needs_key=False,
        is_replay=True,
    )
    return execute(prepare(options), listener)
