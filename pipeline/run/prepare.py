"""All that is looked at before anything is spent: recipe, seeds, prompts, keys, folder.

`prepare` finds all local errors in one pass and gives a `Prepared` run, from which `execute` works.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import manifest, recipe, seed_tasks, templates
from pipeline.errors import InputError, Problems, RecipeError, StorageError, SynthError
from pipeline.manifest import RunManifest
from pipeline.recipe import Recipe, Step
from pipeline.run.source import Source, open_source
from pipeline.stage import (
    DECISION,
    EXTENT,
    IDENTITY,
    DraftStage,
    ExportStage,
    FilterStage,
    ImportStage,
    LLMStage,
    Sampling,
    columns_read,
)
from pipeline.stages import bootstrap, read_input
from pipeline.stages import filter as filter_stage
from pipeline.teacher import uri

MIN_FREE_BYTES = 256 * 2**20
BEFORE_RUN_JSON = {"lock", ".staging", "inputs", "recipe.yaml"}
"""What a run writes before it says that it is one: all that a process killed then leaves."""
EXTRAS = {"vllm": ("vllm",)}


@dataclass(frozen=True)
class Options:
    """What a person asked for on the command line; null where nothing was said."""

    recipe: str
    out: str | None = None
    input: str | None = None
    teacher: str | None = None
    judge: str | None = None
    scorer: str | None = None
    seeds: str | None = None
    settings: Sequence[str] = ()
    limit: int | None = None
    made_from: str | None = None
    until: str | None = None
    may_stall: bool = False
    needs_key: bool = True


@dataclass
class Prepared:
    """A run that can start: nothing about it is known to be wrong."""

    run: Path
    recipe: Recipe
    teacher: uri.TeacherURI
    key: str
    seeds: seed_tasks.SeedFile | None
    source: Source | None
    templates: dict[str, templates.Template]
    columns: list[tuple[str, ...]]
    fingerprints: list[str]
    window: int | None
    existing: RunManifest | None
    old_run: Path | None
    until: str | None
    is_offline_by_default: bool
    may_stall: bool
    identity: dict[str, Any] = field(default_factory=dict)
    extent: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the recipe up to `until`."""
        if self.until is None:
            return self.recipe.steps
        end = self.recipe.step_names.index(self.until) + 1
        return self.recipe.steps[:end]

    @property
    def is_finished(self) -> bool:
        """Whether this very run is there already, whole."""
        return (
            self.existing is not None
            and self.existing.status == "finished"
            and self.existing.extent == self.extent
            and len(self.existing.stages) >= len(self.steps)
        )


def prepare(options: Options, environment: Mapping[str, str] | None = None) -> Prepared:
    """Look at everything that can be looked at without asking anybody.

    Raises one `SynthError` that says all that is wrong.
    """
    problems = Problems()
    old_run = _old_run(options, problems)
    try:
        found = _recipe(options, old_run)
    except SynthError as error:
        problems.add(error)
        _check_what_is_named(options, environment, problems)
        problems.raise_if_any()
        raise
    run = Path(options.out or f"runs/{found.settings.name}")
    existing = _existing(run, problems)
    found = _keep_window(found, existing)
    if options.until is not None and options.until not in found.step_names:
        problems.add(RecipeError(f"--until {options.until}: the stages are {found.step_names}."))
    needs_teacher = any(isinstance(step.stage, DraftStage | LLMStage) for step in found.steps)
    needs_key = needs_teacher and options.needs_key
    teacher, key = _teacher(found, environment, problems, needed=needs_key)
    _check_budget(found, teacher, problems)
    prompts = _templates(found, problems)
    seeds = _seeds(found, problems)
    source = _source(options, found, problems)
    columns = _columns(found, source, problems)
    _check_folder(run, problems)
    problems.raise_if_any()
    assert teacher is not None

    by_class: dict[Any, dict[str, Any]] = {IDENTITY: {}, EXTENT: {}, DECISION: {}}
    for path, (kind, value) in found.classified().items():
        if kind in by_class:
            by_class[kind][path] = value
    identity = by_class[IDENTITY] | {
        "stages": [step.stage.name for step in found.steps],
        **{f"{step.name}.version": step.stage.version for step in found.steps},
        **{f"prompts.{name}": prompt.sha256 for name, prompt in prompts.items()},
        **_user_filters(found),
    }
    if needs_teacher:
        identity["teacher.model"] = teacher.model
    if seeds is not None:
        identity["seeds"] = seeds.sha256
    if source is not None:
        identity["input"] = source.fingerprint
    prepared = Prepared(
        run=run,
        recipe=found,
        teacher=teacher,
        key=key,
        seeds=seeds,
        source=source,
        templates=prompts,
        columns=columns,
        fingerprints=_fingerprints(found, identity, by_class[EXTENT], by_class[DECISION]),
        window=_window(found),
        existing=existing,
        old_run=old_run,
        until=options.until,
        is_offline_by_default=needs_teacher and found.settings.teacher.uri is None,
        may_stall=options.may_stall,
        identity=identity,
        extent=by_class[EXTENT],
        decision=by_class[DECISION],
    )
    _check_unchanged(prepared)
    return prepared


def _window(found: Recipe) -> int | None:
    return next(
        (s.config.window for s in found.steps if isinstance(s.config, bootstrap.Config)), None
    )


def _old_run(options: Options, problems: Problems) -> Path | None:
    if options.made_from is None:
        return None
    old = Path(options.made_from)
    if not (old / "run.json").is_file():
        problems.add(InputError(f"--from {old}: there is no run in that folder."))
    if options.out is None or Path(options.out).resolve() == old.resolve():
        problems.add(RecipeError("--from makes a new run: name its folder with --out."))
    problems.raise_if_any()
    return old


def _recipe(options: Options, old_run: Path | None) -> Recipe:
    settings = dict(recipe.parse_setting(text) for text in options.settings)
    for name in ("teacher", "judge", "scorer"):
        if (given := getattr(options, name)) is not None:
            settings[f"{name}.uri"] = given
    if options.seeds is not None:
        settings["seeds"] = options.seeds
    if options.input is not None:
        settings["import.path"] = options.input
    text, where = recipe.find(options.recipe)
    if old_run is not None and options.recipe in recipe.builtin_names():
        path = old_run / "recipe.yaml"
        text, where = path.read_text(encoding="utf-8"), str(path)
    if options.input is None and options.limit is None:
        return recipe.parse(text, where=where, settings=settings)
    first = recipe.parse(text, where=where, settings={}).steps[0]
    if options.input is not None and not isinstance(first.stage, ImportStage):
        if isinstance(first.stage, DraftStage):
            raise RecipeError(f"{where} starts from seed tasks: use --seeds, not --input.")
        text = _with_import(text)
    if options.limit is not None:
        is_generating = isinstance(first.stage, DraftStage)
        settings[f"{first.name}.target" if is_generating else "import.rows"] = options.limit
    return recipe.parse(text, where=where, settings=settings)


def _check_what_is_named(
    options: Options, environment: Mapping[str, str] | None, problems: Problems
) -> None:
    """Where the recipe is wrong, what the command itself names is looked at all the same."""
    try:
        if options.teacher is not None:
            uri.parse(options.teacher, environment)
    except SynthError as error:
        problems.add(error)
    try:
        if options.seeds is not None:
            seed_tasks.load(options.seeds)
    except SynthError as error:
        problems.add(error)
    if options.out is not None:
        _existing(Path(options.out), problems)
        _check_folder(Path(options.out), problems)


def _with_import(text: str) -> str:
    head, mark, tail = text.partition("stages:\n")
    indent = tail[: len(tail) - len(tail.lstrip(" "))]
    return f"{head}{mark}{indent}- stage: import\n{tail}"


def _existing(run: Path, problems: Problems) -> RunManifest | None:
    path = run / "run.json"
    try:
        run.exists()
    except OSError as error:
        problems.add(StorageError(f"{_short(str(run))} cannot be used: {error.strerror}."))
        return None
    if path.is_file():
        try:
            return manifest.read(RunManifest, path)
        except SynthError as error:
            problems.add(error)
    elif run.is_dir() and not _holds_only_a_start(run):
        problems.add(
            RecipeError(f"{run} is not empty and holds no run: name another folder with --out.")
        )
    return None


def _holds_only_a_start(run: Path) -> bool:
    """Whether a folder is empty, or holds what a run leaves that was killed as it began."""
    names = {path.name for path in run.iterdir() if not path.name.startswith(".new-")}
    return not names or ("lock" in names and names <= BEFORE_RUN_JSON)


def _keep_window(found: Recipe, existing: RunManifest | None) -> Recipe:
    """Write W out: as the run started with it, else from the target."""
    steps = []
    for step in found.steps:
        config = step.config
        if isinstance(config, bootstrap.Config) and config.window is None:
            kept = existing.identity.get(f"{step.name}.window") if existing else None
            window = int(kept) if kept else config.resolved_window()
            step = replace(step, config=config.model_copy(update={"window": window}))
        steps.append(step)
    return replace(found, steps=tuple(steps))


def _teacher(
    found: Recipe, environment: Mapping[str, str] | None, problems: Problems, *, needed: bool
) -> tuple[uri.TeacherURI | None, str]:
    settings = found.settings.teacher
    try:
        parsed = uri.parse("offline" if settings.uri is None else settings.uri, environment)
        for extra in (parsed.scheme,):
            _check_extra(extra)
        if not needed or parsed.scheme == "offline":
            return parsed, "none"
        return parsed, uri.key_for(parsed, settings.key, environment)
    except SynthError as error:
        problems.add(error)
        return None, ""


def _check_budget(found: Recipe, teacher: uri.TeacherURI | None, problems: Problems) -> None:
    """A cap holds only where the worst case of every request can be said beforehand."""
    budget = found.settings.budget
    if budget.usd is not None and teacher and teacher.model not in found.settings.prices:
        problems.add(
            RecipeError(
                f"budget.usd is set and the price of {teacher.model} is not known: add it under "
                f"'prices' ({{{teacher.model}: {{input: ..., output: ...}}}}, $ a million tokens)."
            )
        )
    if budget.usd is None and budget.tokens is None:
        return
    for step in found.steps:
        sampling = getattr(step.config, "sampling", None)
        if isinstance(sampling, Sampling) and sampling.max_tokens is None:
            problems.add(
                RecipeError(
                    f"a budget is set and {step.name}.sampling.max_tokens is not: so nobody "
                    "can say what a request may cost."
                )
            )


def _check_extra(extra: str) -> None:
    missing = [name for name in EXTRAS.get(extra, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"{', '.join(missing)} is not installed: run  pip install 'synth[{extra}]'"
        )


def _templates(found: Recipe, problems: Problems) -> dict[str, templates.Template]:
    folder = Path(found.settings.prompts) if found.settings.prompts else None
    if folder is not None and not folder.is_dir():
        problems.add(RecipeError(f"prompts: {folder} is not a folder."))
    prompts = {}
    for step in found.steps:
        for name in step.stage.prompts if isinstance(step.stage, DraftStage | LLMStage) else ():
            try:
                prompts[name] = templates.load(name, folder)
            except SynthError as error:
                problems.add(error)
    return prompts


def _seeds(found: Recipe, problems: Problems) -> seed_tasks.SeedFile | None:
    configs = (step.config for step in found.steps)
    config = next((config for config in configs if isinstance(config, bootstrap.Config)), None)
    if config is None:
        return None
    try:
        return seed_tasks.load(found.settings.seeds, at_least=config.demonstrations)
    except SynthError as error:
        problems.add(error)
        return None


def _source(options: Options, found: Recipe, problems: Problems) -> Source | None:
    config = found.steps[0].config
    if not isinstance(config, read_input.Config):
        return None
    if not config.path:
        problems.add(InputError(f"{options.recipe} starts from data: name it with --input."))
        return None
    try:
        return open_source(config.path, config.rows)
    except SynthError as error:
        problems.add(error)
        return None


def _columns(found: Recipe, source: Source | None, problems: Problems) -> list[tuple[str, ...]]:
    """The columns of each step's shards; a step that reads what nothing wrote is a problem."""
    there: tuple[str, ...] = source.columns if source else ()
    columns = []
    for index, step in enumerate(found.steps):
        is_source = isinstance(step.stage, DraftStage | ImportStage)
        if is_source and index > 0:
            problems.add(
                RecipeError(f"stage {index + 1} {step.name} starts a recipe: put it first.")
            )
        elif not is_source and index == 0:
            problems.add(
                RecipeError(
                    f"stage 1 {step.name} has no rows to work on: put 'bootstrap' before it, or "
                    "start from data with --input."
                )
            )
        elif not is_source:
            for column in columns_read(step.stage, step.config):
                if column not in there:
                    problems.add(
                        RecipeError(
                            f"stage {index + 1} {step.name} reads column {column!r}, and nothing "
                            "before it writes it. Mend the order of the stages, or start from data "
                            "that has it."
                        )
                    )
        if not (isinstance(step.stage, ImportStage) and source and source.shards):
            there = manifest_columns(there, step)  # rows of a run keep the columns that they have
        columns.append(there)
    for earlier, later in zip(found.steps, found.steps[1:], strict=False):
        if isinstance(earlier.stage, ExportStage):
            problems.add(
                RecipeError(f"stage {earlier.name} ends a recipe, {later.name} is after it.")
            )
    return columns


def manifest_columns(there: tuple[str, ...], step: Step) -> tuple[str, ...]:
    """The columns of a step's shards, in schema order."""
    from pipeline.schema import in_order

    return in_order((*there, *step.stage.writes))


def _user_filters(found: Recipe) -> dict[str, str]:
    hashes = {}
    for step in found.steps:
        if isinstance(step.stage, FilterStage) and isinstance(step.config, filter_stage.Config):
            for name in step.config.filters:
                if (digest := filter_stage.source_hash(name)) is not None:
                    hashes[f"{step.name}.source.{name}"] = digest
    return hashes


def _fingerprints(
    found: Recipe, identity: dict[str, Any], extent: dict[str, Any], decision: dict[str, Any]
) -> list[str]:
    """One digest a step: of its settings, of what it asks with, and of the step before it."""
    everything = identity | extent | decision
    names = set(found.step_names)
    shared = {path: value for path, value in identity.items() if path.split(".")[0] not in names}
    shared.pop("stages")
    for name in [path for path in shared if path.startswith("prompts.")]:
        shared.pop(name)
    chain, digests = "", []
    for step in found.steps:
        own = {path: v for path, v in everything.items() if path.startswith(f"{step.name}.")}
        prompts = step.stage.prompts if isinstance(step.stage, DraftStage | LLMStage) else ()
        own |= {f"prompts.{name}": identity.get(f"prompts.{name}") for name in prompts}
        text = json.dumps([chain, step.stage.name, shared, own], sort_keys=True)
        chain = hashlib.sha256(text.encode()).hexdigest()
        digests.append(chain)
    return digests


def _check_folder(run: Path, problems: Problems) -> None:
    parent = run
    try:
        while not parent.exists():
            parent = parent.parent
    except OSError:
        return  # said by `_existing`
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        problems.add(
            StorageError(f"{parent} cannot be written to: name another folder with --out.")
        )
        return
    try:
        _try_to_write(parent)
    except OSError as error:
        problems.add(StorageError(f"{parent} cannot be written to: {error.strerror}."))
        return
    free = shutil.disk_usage(parent).free
    if free < MIN_FREE_BYTES:
        problems.add(
            StorageError(
                f"{parent} has {free // 2**20} MiB free, and a run wants {MIN_FREE_BYTES // 2**20}."
            )
        )


def _try_to_write(folder: Path) -> None:
    """A folder on a read-only file system says yes to `access` as root, and no to this."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(30, "it is on a read-only file system")


def _check_unchanged(prepared: Prepared) -> None:
    """Refuse a changed setting on a run that exists, naming every one."""
    old = prepared.existing
    if old is None:
        return
    lines = []
    for kind, before, now in (
        ("identity", old.identity, prepared.identity),
        ("decision", old.decision, prepared.decision),
    ):
        for path in sorted(before.keys() | now.keys()):
            if before.get(path) != now.get(path):
                was, is_now = (_short(value.get(path)) for value in (before, now))
                lines.append(f"{path} was {was} and is {is_now} ({kind})")
    for path in sorted(prepared.extent.keys() & old.extent.keys()):
        was, now = old.extent[path], prepared.extent[path]
        if was is not None and (now is not None and now < was):
            lines.append(f"{path} was {was} and is {now} (it can only be raised)")
    if lines:
        listed = "\n".join(f"- {line}" for line in lines)
        raise RecipeError(
            f"{prepared.run} holds a run with other settings:\n{listed}\nTake the same settings, "
            "or make a new run with --out; --from with it asks nothing again that was asked."
        )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
