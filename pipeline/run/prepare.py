"""All that is looked at before anything is spent: recipe, seeds, prompts, keys, folder.

`prepare` finds all local errors in one pass and gives a `Prepared` run, from which `execute` works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from pipeline import manifest, seed_tasks, templates
from pipeline.errors import InputError, Problems, RecipeError, SynthError
from pipeline.extras import pip_line
from pipeline.format_templates import FOLDER, FormatFile
from pipeline.manifest import RunManifest, StageManifest
from pipeline.recipe import Recipe, Step, WrongRecipeError
from pipeline.run import places
from pipeline.run.bases import check_base, find_bases
from pipeline.run.columns import columns_of_steps
from pipeline.run.evaluated import check_bases_fit, find_evaluated
from pipeline.run.fine_tuning import check_fine_tuning
from pipeline.run.folder import check_writable, existing_run
from pipeline.run.formats import check_fields, find_formats
from pipeline.run.masking import EXTRA, Masking
from pipeline.run.options import Options, find_recipe, folders_of, of_run, old_run
from pipeline.run.prompts import find_prompts
from pipeline.run.roles import (
    Model,
    asked_roles,
    check_abilities,
    check_offline,
    check_prices,
    check_roles,
    find_models,
    found_on_hub,
)
from pipeline.run.seed_source import seed_source
from pipeline.run.sets import check_weights, open_sets
from pipeline.run.settings import check_unchanged, fingerprints, settings_of
from pipeline.run.source import Source, open_source
from pipeline.stage import AskingStage, FilterStage, Role, Sampling, role_of
from pipeline.stages import bradley_terry, compare, read_input, seed_rows, toxicity
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher import uri

__all__ = ["Options", "Prepared", "prepare"]


@dataclass
class Prepared:
    """A run that can start: nothing about it is known to be wrong."""

    run: Path
    recipe: Recipe
    models: dict[Role, Model]
    seeds: seed_tasks.SeedFile | None
    source: Source | None
    templates: dict[str, templates.Template]
    formats: dict[str, FormatFile]
    columns: list[tuple[str, ...]]
    fingerprints: list[str]
    window: int | None
    existing: RunManifest | None
    old_run: Path | None
    until: str | None
    is_offline_by_default: bool
    may_stall: bool
    masking: Masking
    identity: dict[str, Any]
    extent: dict[str, Any]
    decision: dict[str, Any]
    bases: dict[str, Model] = field(default_factory=dict)
    evaluated: dict[str, Model] = field(default_factory=dict)
    is_replay: bool = False

    @property
    def teacher(self) -> uri.TeacherURI:
        """Who writes."""
        return self.models["teacher"].uri

    def model_of(self, step: Step) -> Model:
        """Whom a step asks."""
        assert isinstance(step.stage, AskingStage)
        return self.models[role_of(step.stage)]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the recipe up to `until`."""
        if self.until is None:
            return self.recipe.steps
        end = self.recipe.step_names.index(self.until) + 1
        return self.recipe.steps[:end]

    @property
    def judge(self) -> Model | None:
        """Who judges, where somebody is named for it."""
        return self.models.get("judge") if self.recipe.settings.judge is not None else None

    @property
    def judged_by_teacher(self) -> list[str]:
        """The steps that want a judge and ask the teacher, because none is named."""
        if self.recipe.settings.judge is not None:
            return []
        return [
            step.name
            for step in self.steps
            if isinstance(step.stage, AskingStage) and role_of(step.stage) == "judge"
        ]

    @property
    def is_finished(self) -> bool:
        """Whether this very run is there already, whole."""
        return (
            not self.is_replay
            and self.existing is not None
            and self.existing.status == "finished"
            and self.existing.extent == self.extent
            and len(self.existing.stages) >= len(self.steps)
        )


def prepare(options: Options, environment: Mapping[str, str] | None = None) -> Prepared:
    """Look at everything that can be looked at without asking anybody.

    Raises one `SynthError` that says all that is wrong.
    """
    problems = Problems()
    options = of_run(options)
    old = old_run(options, problems)
    found = _recipe(options, environment, old, problems)
    run = Path(options.out or f"runs/{found.settings.name}")
    existing = existing_run(run, problems)
    found = _keep_window(found, existing)
    needs_key = bool(asked_roles(found)) and options.needs_key
    models = find_models(found, environment, problems, needs_key=needs_key)
    check_roles(found, problems)
    check_prices(found, models, problems)
    bases = find_bases(found, problems)
    _check_budget(found, problems)
    folders = folders_of(options, old)
    copies = places.folder_of_copies((run if existing is not None else None, old, folders[0]))
    prompts = find_prompts(found, folders, copies, problems)
    formats = find_formats(found, _own_prompts(found), copies, problems)
    masking = Masking(found.settings.mask)
    seeds = _seeds(found, folders, copies, problems)
    if not masking.missing:
        seeds = masking.seeds(seeds)
    made = [(run, existing)] if existing is not None else []
    made += [(old, manifest.read(RunManifest, old / "run.json"))] if old is not None else []
    source = _source(options, found, folders, seeds, made, problems)
    evaluated = find_evaluated(found, source, problems)
    check_offline(found, models, source, problems)
    check_abilities(found, models, problems, needed=needs_key)
    columns = columns_of_steps(found, source, problems)
    check_fields(found, formats, source, columns, problems)
    _check_leaderboard(found, columns, problems, needed=needs_key or options.is_replay)
    check_weights(found, problems)
    check_fine_tuning(found, problems)
    _check_packages(found, problems)
    _check_classifiers(found, problems)
    if masking.missing:
        problems.add(
            RecipeError(
                f"mask needs {' and '.join(masking.missing)}: {pip_line(EXTRA)}, or "
                "mask other kinds."
            )
        )
    check_writable(run, problems)
    problems.raise_if_any()

    before = made[0][1] if made else None
    roles = asked_roles(found)
    models = found_on_hub(models, before, may_fetch=roles if needs_key else ())
    bases = found_on_hub(bases, before, may_fetch=bases if options.needs_key else ())
    evaluated = found_on_hub(evaluated, before, may_fetch=evaluated if options.needs_key else ())
    for name, base in ({f"{name}.base": one for name, one in bases.items()} | evaluated).items():
        if base.uri.hub and base.uri.folder:
            check_base(name, Path(base.uri.folder))
    check_bases_fit(evaluated)
    asked = {role: models[role] for role in roles}
    settings = settings_of(
        found, _contents(prompts, formats, seeds, source, asked | bases | evaluated)
    )
    if existing is not None:
        path = None if source is None else source.path
        check_unchanged(run, existing, settings, source=path, other_versions=options.is_replay)
    digests = fingerprints(found, settings)
    if old is not None and source is not None and source.taken_from == old:
        _check_taken_in(old, found, digests[0])
    return Prepared(
        run=run,
        recipe=found,
        models=models,
        seeds=seeds,
        source=source,
        templates=prompts,
        formats=formats,
        columns=columns,
        fingerprints=digests,
        window=_window(found),
        existing=existing,
        old_run=old,
        until=options.until,
        is_offline_by_default=any(
            model.uri.scheme == "offline" and model.settings.uri is None for model in asked.values()
        ),
        may_stall=options.may_stall,
        masking=masking,
        identity=settings.identity,
        extent=settings.extent,
        decision=settings.decision,
        bases=bases,
        evaluated=evaluated,
        is_replay=options.is_replay,
    )


def _recipe(
    options: Options, environment: Mapping[str, str] | None, old: Path | None, problems: Problems
) -> Recipe:
    """The recipe; where it is wrong, raises that, with what else can be said without it."""
    try:
        found = find_recipe(options, old)
    except SynthError as error:
        problems.add(error)
        if isinstance(error, WrongRecipeError) and error.rest is not None:
            _check_rest(error.rest, error.lost, options, old, environment, problems)
        else:
            _check_what_is_named(options, environment, problems)
        problems.raise_if_any()
        raise
    if options.until is not None and options.until not in found.step_names:
        problems.add(
            RecipeError(f"--until {options.until}: the stages are {', '.join(found.step_names)}.")
        )
    return found


def _check_leaderboard(
    found: Recipe, columns: list[tuple[str, ...]], problems: Problems, *, needed: bool
) -> None:
    """Several answers are ranked once all are judged, and paid for: it has to be possible then."""
    if not needed or find_spec(bradley_terry.PACKAGE) is not None:
        return
    for step, there in zip(found.steps, columns, strict=True):
        if step.stage is compare.STAGE and "answers" in there:
            problems.add(RecipeError(f"{step.name}: {bradley_terry.MISSING}"))


def _check_packages(found: Recipe, problems: Problems) -> None:
    """What judges rows by a package of an extra has to find it, before anything runs."""
    for step in found.steps:
        if not isinstance(step.stage, FilterStage):
            continue
        for what, package, extra in step.stage.needs(step.config):
            if find_spec(package) is None:
                problems.add(
                    RecipeError(
                        f"{step.name}: {what} needs {package}: {pip_line(extra)}, or "
                        f"leave it out with --set {step.name}.{what}=false."
                    )
                )


def _check_classifiers(found: Recipe, problems: Problems) -> None:
    """A folder with a classifier has to be one, and something has to be there to read it."""
    for step in found.steps:
        if not isinstance(step.stage, FilterStage) or step.stage.classifier is None:
            continue
        setting, named = f"{step.name}.classifier", step.stage.classifier(step.config)
        if not named:
            problems.add(RecipeError(f"{step.name} needs a model: --set {setting}=FOLDER."))
            continue
        if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
            needed = f"{setting} needs {', '.join(missing)}: {pip_line('train')}."
            problems.add(RecipeError(needed))
        try:
            toxicity.classes_of(Path(named))
        except ValueError as error:
            problems.add(RecipeError(f"{setting}: {named} is no classifier of toxicity: {error}."))


def _contents(
    prompts: Mapping[str, templates.Template],
    formats: Mapping[str, FormatFile],
    seeds: seed_tasks.SeedFile | None,
    source: Source | None,
    models: Mapping[str, Model],
) -> dict[str, str | bool]:
    """What stands for the content of all that the recipe only names."""
    named = {
        **{f"{role}.model": model.name for role, model in models.items()},
        **{f"{role}.sha256": model.sha256 or None for role, model in models.items()},
        **{f"{role}.structured": model.is_structured or None for role, model in models.items()},
        **{f"{role}.revision": model.uri.revision or None for role, model in models.items()},
        "seeds": seeds.sha256 if seeds else None,
        "input": source.fingerprint if source else None,
        **{f"prompts.{name}": prompt.sha256 for name, prompt in prompts.items()},
        **{f"prompts.{FOLDER}/{name}": file.sha256 for name, file in formats.items()},
    }
    return {name: content for name, content in named.items() if content is not None}


def _own_prompts(found: Recipe) -> Path | None:
    """The folder of the user's own templates, if one is named."""
    return Path(found.settings.prompts) if found.settings.prompts else None


def _window(found: Recipe) -> int | None:
    return next((s.config.window for s in found.steps if isinstance(s.config, DraftConfig)), None)


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
        existing_run(Path(options.out), problems)
        check_writable(Path(options.out), problems)


def _check_rest(
    rest: Recipe,
    lost: frozenset[str],
    options: Options,
    old: Path | None,
    environment: Mapping[str, str] | None,
    problems: Problems,
) -> None:
    """Where the recipe is wrong, look at all the rest that does not hang on what is `lost`."""
    run = Path(options.out or f"runs/{rest.settings.name}")
    existing = existing_run(run, problems) if options.out or "name" not in lost else None
    groups = {path.split(".")[0] for path in lost}
    whom = {f"{role}.{what}" for role in get_args(Role) for what in ("uri", "key")}
    models: dict[Role, Model] = {}
    if not lost & (whom | {*get_args(Role)}):
        needs_key = bool(asked_roles(rest)) and options.needs_key
        models = find_models(rest, environment, problems, needs_key=needs_key)
    if not groups & {"prices", "budget"}:
        check_prices(rest, models, problems)
    _check_budget(rest, problems)
    folders = folders_of(options, old)
    copies = places.folder_of_copies((run if existing is not None else None, old, folders[0]))
    find_prompts(rest, folders, copies, problems)
    if "prompts" not in lost:
        find_formats(rest, _own_prompts(rest), copies, problems)
    if "seeds" not in lost:
        _seeds(rest, folders, copies, problems)
    first = rest.steps[0]
    if not groups & {"stages", first.name} and not isinstance(first.config, seed_rows.Config):
        made = [(run, existing)] if existing is not None else []
        _source(options, rest, folders, None, made, problems)
    check_writable(run, problems)


def _keep_window(found: Recipe, existing: RunManifest | None) -> Recipe:
    """Write W out: as the run started with it, else from the target."""
    steps = []
    for step in found.steps:
        config = step.config
        if isinstance(config, DraftConfig) and config.window is None:
            kept = existing.identity.get(f"{step.name}.window") if existing else None
            window = int(kept) if kept else config.resolved_window()
            step = replace(step, config=config.model_copy(update={"window": window}))
        steps.append(step)
    return replace(found, steps=tuple(steps))


def _check_budget(found: Recipe, problems: Problems) -> None:
    """A cap holds only where the worst case of every request can be said beforehand."""
    budget = found.settings.budget
    if budget.usd is None and budget.tokens is None:
        return
    for step in found.steps:
        for name, sampling in step.config:
            if isinstance(sampling, Sampling) and sampling.max_tokens is None:
                problems.add(
                    RecipeError(
                        f"a budget is set and {step.name}.{name}.max_tokens is not: so nobody "
                        "can say what a request may cost."
                    )
                )


def _seeds(
    found: Recipe, folders: Sequence[Path], copies: Path | None, problems: Problems
) -> seed_tasks.SeedFile | None:
    configs = [step.config for step in found.steps]
    config = next((config for config in configs if isinstance(config, DraftConfig)), None)
    if config is None and not isinstance(configs[0], seed_rows.Config):
        return None
    at_least = 1 if config is None else config.demonstrations
    named = found.settings.seeds
    copy = None if copies is None else copies / "seeds.jsonl"
    try:
        if named != places.BUILTIN and not places.is_there(named):
            if copy is None or not copy.is_file():
                raise InputError(
                    f"the seed tasks {places.said_of(named, folders)} cannot be read: No such file "
                    "or directory."
                )
            return replace(seed_tasks.load(str(copy), at_least=at_least), path=Path(named))
        return seed_tasks.load(named, at_least=at_least)
    except SynthError as error:
        problems.add(error)
        return None


def _source(
    options: Options,
    found: Recipe,
    folders: Sequence[Path],
    seeds: seed_tasks.SeedFile | None,
    made: Sequence[tuple[Path, RunManifest]],
    problems: Problems,
) -> Source | None:
    """Where the rows come from; what one of the runs `made` took in stands for what has gone."""
    config = found.steps[0].config
    if isinstance(config, seed_rows.Config):
        return None if seeds is None else seed_source(seeds, config.rows)
    if not isinstance(config, read_input.Config):
        return None
    if not config.path and not config.sets:
        problems.add(InputError(f"{options.recipe} starts from data: name it with --input."))
        return None
    try:
        gone = [path for path in places.paths_of(config) if not places.is_there(path)]
        is_gone = bool(gone)
        for run, state in made if is_gone or options.is_replay else ():
            if (there := places.taken_in(run, state, found.steps[0])) is not None:
                return there
        lost = [path for path in gone if not Path(path).is_absolute()]
        for path in lost:
            said = f"--input {places.said_of(path, folders)}: there is no such run or file."
            problems.add(InputError(said))
        if lost:
            return None
        return open_sets(config) if config.sets else open_source(config.path, config)
    except SynthError as error:
        problems.add(error)
        return None


def _check_taken_in(old: Path, found: Recipe, digest: str) -> None:
    """Rows that `old` took in go on where its whole import does; another import needs the data."""
    first = found.steps[0]
    path = old / manifest.stage_folder(0, first.name) / "stage.json"
    if manifest.read(StageManifest, path).fingerprint != digest:
        assert isinstance(first.config, read_input.Config)
        named = ", ".join(places.paths_of(first.config))
        raise InputError(
            f"--input {named}: there is no such run or file, and under other settings "
            f"{first.name} has to read it again: put it back, or name it with --input."
        )
