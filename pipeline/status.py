"""How far each stage of a run is and what it cost so far, and who works on the run now."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline import yaml_text
from pipeline.errors import RecipeError
from pipeline.inspect import Run
from pipeline.manifest import RunManifest, StageManifest
from pipeline.recipe import ROLES
from pipeline.run import lock
from pipeline.run.events import Progress, noted
from pipeline.stage import AskingStage, role_of
from pipeline.stages import STAGES
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.settings import Price
from pipeline.usage import priced


def holder(run: Path) -> str | None:
    """Who works on the run now, for people; null where nobody does, as far as can be seen."""
    found = lock.working(run)
    if found is None:
        return None
    where = "" if found.is_here() else f" on {found.host}, by what its lock says"
    return f"process {found.pid}{where}"


def asked(run: RunManifest) -> str:
    """Whom the stages of a run ask, by role, for people."""
    kinds = {stage.name: stage for stage in STAGES}
    names = run.identity.get("stages") or ()
    roles = {
        role_of(kind) if isinstance(kind, AskingStage) else None
        for name in names
        if (kind := kinds.get(name)) is not None
    }
    is_known = bool(names) and all(name in kinds for name in names)
    has_teacher = "teacher" in roles or ("judge" in roles and run.judge is None)
    scorer = run.identity.get("scorer.model")
    found = [
        *([f"teacher {run.teacher}"] if has_teacher or not is_known else []),
        *([f"judge {run.judge}"] if run.judge else []),
        *([f"scorer {scorer}"] if scorer and "scorer" in roles else []),
    ]
    return ", ".join(found) or "nobody is asked"


OUTDATED = "outdated"
"""The state of a stage that a run has still to come to again: its rows are of an earlier pass."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage of a run, begun or not, as `synth status` shows it.

    `requests`, tokens and cost come from the stage's books once it is complete, before that from
    the journal. `measures` are the plain numbers of `stage.json`, such as `label_balance`,
    `by_round` what it says of each round of evolution, `not_measured` why rows have no score,
    `leaderboard` what a judge made of several answers, `results` what an evaluation came to by
    model, `rows_by` how many kept rows have each value
    of a column.
    """

    name: str
    state: str
    candidates: int = 0
    kept: int = 0
    dropped: int = 0
    dropped_by_reason: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None
    seconds: float = 0.0
    measures: dict[str, float] = field(default_factory=dict)
    histogram: dict[str, int] = field(default_factory=dict)
    by_round: list[dict[str, float]] = field(default_factory=list)
    not_measured: dict[str, int] = field(default_factory=dict)
    leaderboard: dict[str, dict[str, float]] = field(default_factory=dict)
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    rows_by: dict[str, dict[str, int]] = field(default_factory=dict)


def stage_statuses(run: Run) -> list[StageStatus]:
    """Every stage of the run's recipe, in order, as far as it has come."""
    recipe = _recipe_tree(run.path / "recipe.yaml")
    prices = _prices(recipe.get("prices"))
    begun = {state.name: state for state in run.stage_manifests}
    named = [
        str(one.get("name") or one.get("stage"))
        for one in recipe.get("stages") or ()
        if _stands(one, recipe)
    ]
    journal = run.path / "journal.sqlite"
    now = _progress(run)
    outdated = _outdated(run, now)
    with JournalReader(journal) if journal.is_file() else nullcontext() as reader:
        return [
            _status(run, begun[name], prices, reader, now, is_outdated=name in outdated)
            if name in begun
            else StageStatus(name, "not begun")
            for name in (*begun, *(name for name in named if name not in begun))
        ]


def _status(
    run: Run,
    state: StageManifest,
    prices: dict[str, Price],
    reader: JournalReader | None,
    now: Progress | None,
    *,
    is_outdated: bool,
) -> StageStatus:
    now = now if now is not None and now.stage == state.name and now.state != "done" else None
    is_complete = state.complete and now is None
    usage = state.usage
    if not is_complete and reader is not None:
        usage = priced(reader.usage(state.name), prices)
    costs = [Decimal(one.cost_usd) for one in usage if one.cost_usd is not None]
    is_working = run.manifest.status == "running"
    return StageStatus(
        name=state.name,
        state=OUTDATED
        if is_outdated
        else "complete"
        if is_complete
        else "running"
        if is_working
        else state.stopped or "open",
        candidates=now.kept + sum(now.dropped.values()) if now else state.candidates,
        kept=now.kept if now else state.kept,
        dropped=sum(now.dropped.values()) if now else state.dropped,
        dropped_by_reason=now.dropped if now else state.dropped_by_reason,
        requests=sum(one.requests for one in usage),
        input_tokens=sum(one.input_tokens for one in usage),
        output_tokens=sum(one.output_tokens for one in usage),
        cost_usd=str(sum(costs, Decimal(0))) if costs else None,
        seconds=state.seconds,
        measures={
            name: value for name, value in state.measures.items() if isinstance(value, int | float)
        },
        histogram=dict(state.measures.get("histogram", {})),
        by_round=list(state.measures.get("by_round", [])),
        not_measured={
            why: n
            for name in ("not_measured", "not_evaluated", "not_judged")
            for why, n in state.measures.get(name, {}).items()
        },
        results=dict(state.measures.get("results", {}))
        | {
            f"of {one['share']:g} of the rows": {n: one[n] for n in ("rows_trained", "loss")}
            for one in state.measures.get("sizes") or ()
        },
        leaderboard=dict(state.measures.get("leaderboard", {})),
        rows_by=dict(state.measures.get("rows_by", {})),
    )


def _stands(entry: dict[str, Any], recipe: dict[str, Any]) -> bool:
    """Whether a stage of the recipe has what it is there for, as its `when` says."""
    when = entry.get("when")
    if when is None or when in ROLES:
        return when is None or bool((recipe.get(when) or {}).get("uri"))
    return entry.get(when) is not None


def _progress(run: Run) -> Progress | None:
    """How far the stage at work is by its process's last word, which no shard has yet."""
    return noted(run.path) if run.manifest.status == "running" else None


def outdated(run: Run) -> set[str]:
    """The stages of a run that it has still to come to again."""
    return _outdated(run, _progress(run))


def _outdated(run: Run, now: Progress | None) -> set[str]:
    """The stages after the one that a run is at: what they hold is of an earlier pass."""
    names = run.stages
    open_ones = [state.name for state in run.stage_manifests if not state.complete]
    at = now.stage if now is not None and now.stage in names else next(iter(open_ones), None)
    if at is None:
        return set()
    begin = names.index(at) + 1
    if now is not None and now.stage == at and now.state == "done" and open_ones:
        begin = max(begin, names.index(open_ones[0]) + 1)
    return set(names[begin:])


def _recipe_tree(path: Path) -> dict[str, Any]:
    try:
        tree = yaml_text.load(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, ValueError, RecipeError):  # `verify` says so; the rest can still be shown
        return {}
    return tree if isinstance(tree, dict) else {}


def _prices(tree: object) -> dict[str, Price]:
    if not isinstance(tree, dict):
        return {}
    found = {}
    for model, price in tree.items():
        with suppress(ValueError):  # a damaged recipe: the rest can still be shown
            found[str(model)] = Price.model_validate(price)
    return found
