"""All that is looked at before anything is spent: recipe, seeds, prompts, keys, folder.

`prepare` finds all local errors in one pass and gives a `Prepared` run, from which `execute` works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline import recipe, seed_tasks, templates
from pipeline.errors import InputError, Problems, RecipeError, SynthError
from pipeline.manifest import RunManifest
from pipeline.recipe import Recipe, Step
from pipeline.run.columns import columns_of_steps
from pipeline.run.folder import check_writable, existing_run
from pipeline.run.roles import Asked, wants_judge
from pipeline.run.seed_source import seed_source
from pipeline.run.settings import check_unchanged, fingerprints, settings_of
from pipeline.run.source import Source, open_source
from pipeline.stage import AskingStage, DraftStage, ImportStage, RowStage, Sampling, prompts_of
from pipeline.stages import decontaminate, read_input, seed_rows
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings

SEEDS_STAGE = re.compile(r"(\bstage: *)seed-tasks\b")


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
    is_replay: bool = False


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
    judge: Asked | None
    columns: list[tuple[str, ...]]
    fingerprints: list[str]
    window: int | None
    existing: RunManifest | None
    old_run: Path | None
    until: str | None
    is_offline_by_default: bool
    may_stall: bool
    identity: dict[str, Any]
    extent: dict[str, Any]
    decision: dict[str, Any]
    is_replay: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the recipe up to `until`."""
        if self.until is None:
            return self.recipe.steps
        end = self.recipe.step_names.index(self.until) + 1
        return self.recipe.steps[:end]

    def asked_by(self, step: Step) -> Asked:
        """Whom a step asks: the judge where it wants one and one is named, else the teacher."""
        if self.judge is not None and wants_judge(step.stage):
            return self.judge
        return Asked(self.teacher, self.key, self.recipe.settings.teacher)

    @property
    def judged_by_teacher(self) -> list[str]:
        """The steps that want a judge and ask the teacher, because none is named."""
        steps = [step.name for step in self.steps if wants_judge(step.stage)]
        return steps if self.judge is None else []

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
    old_run = _old_run(options, problems)
    try:
        found = _recipe(options, old_run)
    except SynthError as error:
        problems.add(error)
        _check_what_is_named(options, environment, problems)
        problems.raise_if_any()
        raise
    run = Path(options.out or f"runs/{found.settings.name}")
    existing = existing_run(run, problems)
    found = _keep_window(found, existing)
    if options.until is not None and options.until not in found.step_names:
        problems.add(
            RecipeError(f"--until {options.until}: the stages are {', '.join(found.step_names)}.")
        )
    judging = [step for step in found.steps if wants_judge(step.stage)]
    has_judge = bool(judging) and found.settings.judge is not None
    asking = [step for step in found.steps if isinstance(step.stage, AskingStage)]
    needs_teacher = len(asking) > (len(judging) if has_judge else 0)
    needs_key = needs_teacher and options.needs_key
    teacher, key = _model(
        "teacher", found.settings.teacher, environment, problems, needed=needs_key
    )
    judge = _judge(found, environment, problems, needed=options.needs_key) if has_judge else None
    _check_roles(found, problems)
    for asked in (teacher, judge.uri if judge else None):
        _check_price(found, asked, problems)
    _check_budget(found, problems)
    prompts = _templates(found, problems)
    seeds = _seeds(found, problems)
    source = _source(options, found, seeds, problems)
    by_teacher = [step for step in found.steps if not (has_judge and wants_judge(step.stage))]
    _check_offline(by_teacher, teacher, source, problems)
    if judge is not None:
        _check_offline(judging, judge.uri, source, problems)
    _check_folder(by_teacher, teacher, problems, needed=needs_key)
    columns = columns_of_steps(found, source, problems)
    check_writable(run, problems)
    problems.raise_if_any()
    assert teacher is not None

    model = teacher.model if needs_teacher else None
    sha256 = teacher.sha256 or None if needs_teacher else None
    contents = _contents(prompts, seeds, source, model, sha256)
    if judge is not None:
        contents["judge.model"] = judge.uri.model
    settings = settings_of(found, contents)
    if existing is not None:
        check_unchanged(run, existing, settings, other_versions=options.is_replay)
    return Prepared(
        run=run,
        recipe=found,
        teacher=teacher,
        key=key,
        seeds=seeds,
        source=source,
        templates=prompts,
        judge=judge,
        columns=columns,
        fingerprints=fingerprints(found, settings),
        window=_window(found),
        existing=existing,
        old_run=old_run,
        until=options.until,
        is_offline_by_default=needs_teacher and found.settings.teacher.uri is None,
        may_stall=options.may_stall,
        identity=settings.identity,
        extent=settings.extent,
        decision=settings.decision,
        is_replay=options.is_replay,
    )


def _contents(
    prompts: Mapping[str, templates.Template],
    seeds: seed_tasks.SeedFile | None,
    source: Source | None,
    model: str | None,
    model_sha256: str | None,
) -> dict[str, str]:
    """What stands for the content of all that the recipe only names."""
    named = {
        "teacher.model": model,
        "teacher.sha256": model_sha256,
        "seeds": seeds.sha256 if seeds else None,
        "input": source.fingerprint if source else None,
        **{f"prompts.{name}": prompt.sha256 for name, prompt in prompts.items()},
    }
    return {name: content for name, content in named.items() if content is not None}


def _window(found: Recipe) -> int | None:
    return next((s.config.window for s in found.steps if isinstance(s.config, DraftConfig)), None)


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
    if options.input is not None and isinstance(first.config, seed_rows.Config):
        text = SEEDS_STAGE.sub(r"\1import", text, count=1)
        first = recipe.parse(text, where=where, settings={}).steps[0]
    elif options.input is not None and not isinstance(first.stage, ImportStage):
        if isinstance(first.stage, DraftStage):
            raise RecipeError(f"{where} starts from seed tasks: use --seeds, not --input.")
        text = _with_import(text)
    if options.limit is not None:
        is_generating = isinstance(first.stage, DraftStage)
        is_import = not is_generating and isinstance(first.stage, ImportStage)
        name = first.name if is_generating or is_import else "import"
        settings[f"{name}.target" if is_generating else f"{name}.rows"] = options.limit
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
        existing_run(Path(options.out), problems)
        check_writable(Path(options.out), problems)


def _with_import(text: str) -> str:
    head, mark, tail = text.partition("stages:\n")
    indent = tail[: len(tail) - len(tail.lstrip(" "))]
    return f"{head}{mark}{indent}- stage: import\n{tail}"


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


def _judge(
    found: Recipe, environment: Mapping[str, str] | None, problems: Problems, *, needed: bool
) -> Asked | None:
    settings = found.settings.judge
    assert settings is not None
    if settings.uri is None:
        problems.add(RecipeError("judge: it has settings and no uri: name it with --judge."))
        return None
    parsed, key = _model("judge", settings, environment, problems, needed=needed)
    if parsed is not None and parsed.scheme == "st":
        problems.add(RecipeError(f"the judge st:{parsed.folder} only makes vectors."))
    return None if parsed is None else Asked(parsed, key, settings)


def _model(
    role: str,
    settings: TeacherSettings,
    environment: Mapping[str, str] | None,
    problems: Problems,
    *,
    needed: bool,
) -> tuple[uri.TeacherURI | None, str]:
    """The model of a role and the key that it is asked with."""
    try:
        parsed = uri.parse("offline" if settings.uri is None else settings.uri, environment)
        if parsed.scheme == "st":
            return replace(parsed, sha256=uri.folder_sha256(parsed.folder)), uri.NO_KEY
        if not needed or parsed.scheme == "offline":
            return parsed, "none"
        return parsed, uri.key_for(parsed, settings.key, environment)
    except SynthError as error:
        is_teacher = role == "teacher"
        problems.add(error if is_teacher else type(error)(f"{role}: {error}"))
        return None, ""


def _check_offline(
    steps: Sequence[Step],
    teacher: uri.TeacherURI | None,
    source: Source | None,
    problems: Problems,
) -> None:
    """The offline teacher answers its own tasks; to anybody else's it would only say sorry."""
    if teacher is None or teacher.scheme != "offline":
        return
    for step in steps:
        if isinstance(step.stage, RowStage) and step.stage.endpoint == "embeddings":
            problems.add(
                RecipeError(
                    f"{step.name}: the offline teacher has no embeddings: name a server with "
                    "--teacher openai:MODEL@URL, or a model's folder with --teacher st:FOLDER."
                )
            )
            return
    from pipeline.teacher.offline import TEMPLATES  # only where it is the teacher

    for step in steps:
        for name in prompts_of(step.stage, step.config):
            if name not in TEMPLATES:
                problems.add(
                    RecipeError(
                        f"{step.name}: the offline teacher does not know the template {name!r}: "
                        "name a teacher with --teacher."
                    )
                )
    if source is None:
        return
    asking = [step.name for step in steps if isinstance(step.stage, AskingStage)]
    writers = sorted(source.writers() - {"offline"}) if asking else []
    is_seeds = any(isinstance(step.config, seed_rows.Config) for step in steps)
    if writers:
        problems.add(
            RecipeError(
                f"{', '.join(asking)}: the offline teacher answers only rows that it "
                f"wrote, and these are by {', '.join(writers[:3])}: name a teacher with --teacher"
                f"{', or a run that it wrote with --input' if is_seeds else ''}."
            )
        )


def _check_folder(
    steps: Sequence[Step], teacher: uri.TeacherURI | None, problems: Problems, *, needed: bool
) -> None:
    """A sentence-transformers folder makes vectors, no text, and wants the extra `train`."""
    if teacher is None or teacher.scheme != "st":
        return
    writing = [
        step.name
        for step in steps
        if isinstance(step.stage, DraftStage)
        or (isinstance(step.stage, RowStage) and step.stage.endpoint != "embeddings")
    ]
    if writing:
        problems.add(
            RecipeError(
                f"{', '.join(writing)}: the teacher st:{teacher.folder} only makes vectors: name "
                "one that writes text with --teacher openai:MODEL, and embed in a run of its own."
            )
        )
    missing = [name for name in ("torch", "sentence_transformers") if find_spec(name) is None]
    if needed and missing:
        problems.add(
            RecipeError(
                f"the teacher st:{teacher.folder} needs {', '.join(missing)}: "
                "pip install 'synth[train]'."
            )
        )


def _check_roles(found: Recipe, problems: Problems) -> None:
    """A judge that no stage asks, or decontamination alone without prompts, is a mistake."""
    last = found.steps[-1].config
    if isinstance(last, decontaminate.Config) and last.benchmarks is None:
        problems.add(
            RecipeError("decontaminate needs prompts: --set decontaminate.benchmarks=FILE.")
        )
    for role, does in (("judge", "rates"), ("scorer", "measures token loss")):
        is_asked = role == "judge" and any(wants_judge(step.stage) for step in found.steps)
        if getattr(found.settings, role) is not None and not is_asked:
            problems.add(
                RecipeError(f"{role}: no stage of this recipe {does}; leave --{role} out.")
            )


def _check_price(found: Recipe, teacher: uri.TeacherURI | None, problems: Problems) -> None:
    """A cap in dollars holds only where there is a price."""
    budget = found.settings.budget
    if budget.usd is not None and teacher and teacher.model not in found.settings.prices:
        problems.add(
            RecipeError(
                f"budget.usd is set and the price of {teacher.model} is not known: add it under "
                f"'prices' ({{{teacher.model}: {{input: ..., output: ...}}}}, $ a million tokens)."
            )
        )


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


def _templates(found: Recipe, problems: Problems) -> dict[str, templates.Template]:
    folder = Path(found.settings.prompts) if found.settings.prompts else None
    if folder is not None and not folder.is_dir():
        problems.add(RecipeError(f"prompts: {folder} is not a folder."))
    prompts = {}
    for step in found.steps:
        for name in prompts_of(step.stage, step.config):
            try:
                prompts[name] = templates.load(name, folder)
            except SynthError as error:
                problems.add(error)
    return prompts


def _seeds(found: Recipe, problems: Problems) -> seed_tasks.SeedFile | None:
    configs = [step.config for step in found.steps]
    config = next((config for config in configs if isinstance(config, DraftConfig)), None)
    if config is None and not isinstance(configs[0], seed_rows.Config):
        return None
    try:
        at_least = 1 if config is None else config.demonstrations
        return seed_tasks.load(found.settings.seeds, at_least=at_least)
    except SynthError as error:
        problems.add(error)
        return None


def _source(
    options: Options, found: Recipe, seeds: seed_tasks.SeedFile | None, problems: Problems
) -> Source | None:
    config = found.steps[0].config
    if isinstance(config, seed_rows.Config):
        return None if seeds is None else seed_source(seeds, config.rows)
    if not isinstance(config, read_input.Config):
        return None
    if not config.path:
        problems.add(InputError(f"{options.recipe} starts from data: name it with --input."))
        return None
    try:
        return open_source(config.path, config)
    except SynthError as error:
        problems.add(error)
        return None
