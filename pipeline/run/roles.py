"""Whom a run asks: one model a role, as the recipe names it, and what each of them can answer.

A stage says which role it asks. Where the recipe names no judge the teacher judges; where it names
no scorer a tiny model of the run's own measures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar, get_args

from pipeline.errors import Problems, RecipeError, SynthError, TeacherError
from pipeline.extras import pip_line
from pipeline.manifest import RunManifest
from pipeline.recipe import Recipe
from pipeline.run.source import Source
from pipeline.stage import AskingStage, Role, RowStage, prompts_of, role_of
from pipeline.stages import decontaminate, seed_rows
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings, VLLMSettings

Name = TypeVar("Name", bound=str)
"""A role, or another name by which a run knows a model."""
DOES: dict[Role, str] = {"judge": "rates", "scorer": "measures token loss"}
HERE = ("hf", "tiny")
"""Schemes of scorers that run in this process."""
AT_ONCE = 256
"""How many rows a scorer of this process is given at once, where nothing is set."""


@dataclass(frozen=True)
class Model:
    """One model that is asked: its URI taken apart, its key, and the settings it is asked with."""

    uri: uri.TeacherURI
    key: str
    settings: TeacherSettings
    adapter_sha256: str = ""

    @property
    def sha256(self) -> str:
        """What stands for its weights, where they are files of this machine; else nothing."""
        return (
            f"{self.uri.sha256}+{self.adapter_sha256}" if self.adapter_sha256 else self.uri.sha256
        )

    @property
    def name(self) -> str:
        """The served model's name, as rows, prices and the journal carry it."""
        return self.uri.model

    @property
    def is_free(self) -> bool:
        """Whether it runs here and nobody is paid."""
        return self.uri.scheme != "openai"

    @property
    def vllm(self) -> VLLMSettings:
        """How vLLM serves it here."""
        return self.settings.vllm or VLLMSettings.model_validate({})

    @property
    def is_structured(self) -> bool:
        """Whether it is asked for JSON by a schema, where a stage has one."""
        wanted = self.settings.structured_output
        return self.uri.scheme == "vllm" if wanted is None else wanted

    @property
    def concurrency(self) -> int:
        """How many requests may be open."""
        is_set = "concurrency" in self.settings.model_fields_set
        if self.uri.scheme in HERE and not is_set:
            return AT_ONCE
        return self.settings.concurrency


def asked_roles(found: Recipe) -> tuple[Role, ...]:
    """The roles that the recipe's stages ask, in a fixed order."""
    asked = {role_of(step.stage) for step in found.steps if isinstance(step.stage, AskingStage)}
    roles: tuple[Role, ...] = get_args(Role)
    return tuple(role for role in roles if role in asked)


def find_models(
    found: Recipe,
    environment: Mapping[str, str] | None,
    problems: Problems,
    *,
    needs_key: bool,
) -> dict[Role, Model]:
    """The model of each role that is asked, and the teacher's in any case.

    What is wrong with one goes to `problems`, and a role whose address is wrong is left out.
    """
    asked = asked_roles(found)
    models: dict[Role, Model] = {}
    roles: tuple[Role, ...] = ("teacher", *(role for role in asked if role != "teacher"))
    for role in roles:
        settings: TeacherSettings | None = getattr(found.settings, role)
        if settings is None and role == "judge":
            if "teacher" in models:
                models[role] = models["teacher"]
            continue
        if settings is not None and settings.uri is None and role == "judge":
            problems.add(RecipeError("judge: it has settings and no uri: name it with --judge."))
            continue
        settings = settings or TeacherSettings()
        default = "tiny" if role == "scorer" else "offline"
        try:
            parsed = uri.parse(default if settings.uri is None else settings.uri, environment)
            if settings.vllm is not None and parsed.scheme != "vllm":
                raise RecipeError(
                    f"the settings {role}.vllm are for a model that is served here: --{role} "
                    "vllm:FOLDER or vllm:ORG/NAME."
                )
            if parsed.folder:
                parsed = replace(parsed, sha256=uri.folder_sha256(parsed.folder))
            models[role] = Model(parsed, uri.NO_KEY, settings)  # what else it lacks is said too
            if settings.vllm is not None and settings.vllm.asked_adapter is not None:
                models[role] = _with_adapter(models[role], settings.vllm)
            if parsed.scheme == "openai" and needs_key and role in asked:
                safe = settings.insecure_http
                key = uri.key_for(parsed, settings.key, environment, insecure_http=safe)
                models[role] = Model(parsed, key, settings)
        except SynthError as error:
            is_teacher = role == "teacher"
            problems.add(error if is_teacher else type(error)(f"{role}: {error}"))
    return models


def _with_adapter(model: Model, settings: VLLMSettings) -> Model:
    """The model as it is asked through an adapter: by the adapter's name, and known by both."""
    for name, folder in settings.lora_modules.items():
        if not Path(folder).is_dir():
            raise RecipeError(f"vllm.lora_modules: {name}: there is no folder {folder}.")
    name = str(settings.asked_adapter)
    digest = uri.folder_sha256(settings.lora_modules[name])
    return replace(model, uri=replace(model.uri, model=name), adapter_sha256=digest)


def found_on_hub(
    models: Mapping[Name, Model], before: RunManifest | None, *, may_fetch: Collection[Name]
) -> dict[Name, Model]:
    """The models, those of the hub with the folder, the digest and the commit that they are at.

    Where no revision is named it is the one that the run `before` was made with, else that of the
    cache, else what the hub calls main. Models of other roles than `may_fetch` are not fetched: one
    that is not there stays as it is named. Raises what keeps a model from being fetched.
    """
    from pipeline.train import hub  # only where it is asked

    found = dict(models)
    known: dict[tuple[int, Path], Model] = {}  # a judge that is the teacher stays that
    for role, model in models.items():
        named = model.uri
        if not named.hub or find_spec("huggingface_hub") is None:
            continue
        revision = named.revision
        if not revision and before is not None:
            is_same = before.identity.get(f"{role}.model") == named.model
            revision = str(before.identity.get(f"{role}.revision") or "") if is_same else ""
        if role in may_fetch:
            is_role = role in get_args(Role)  # else it is the base of the stage of that name
            called = f"{named.scheme}:{named.hub}" if is_role else f"{role}.base={named.hub}"
            folder: Path | None = _fetched(named, revision, called)
        else:
            folder = hub.cached(named.hub, revision)
        if folder is not None and (there := known.get((id(model), folder))) is not None:
            found[role] = there
        elif folder is not None:
            digest = uri.folder_sha256(str(folder), hub.is_wanted)
            at = replace(named, folder=str(folder), sha256=digest, revision=folder.name)
            found[role] = known[id(model), folder] = replace(model, uri=at)
    return found


def _fetched(named: uri.TeacherURI, revision: str, called: str) -> Path:
    """The snapshot of a model of the hub; one that vLLM is to serve is the teacher's to lack."""
    from pipeline.train import hub  # only where it is asked

    try:
        return hub.fetched(named.hub, revision, called=called)
    except RecipeError as error:
        raise TeacherError(str(error)) if named.scheme == "vllm" else error from error


def check_roles(found: Recipe, problems: Problems) -> None:
    """A judge that no stage asks, or decontamination alone without prompts, is a mistake."""
    last = found.steps[-1].config
    if isinstance(last, decontaminate.Config) and last.benchmarks is None:
        problems.add(
            RecipeError("decontaminate needs prompts: --set decontaminate.benchmarks=FILE.")
        )
    asked = asked_roles(found)
    for role, does in DOES.items():
        if getattr(found.settings, role) is not None and role not in asked:
            problems.add(
                RecipeError(f"{role}: no stage of this recipe {does}; leave --{role} out.")
            )


def check_abilities(
    found: Recipe, models: Mapping[Role, Model], problems: Problems, *, needed: bool
) -> None:
    """Each stage that asks has to be asking a model that can answer it, and that is installed."""
    for step in found.steps:
        if not isinstance(step.stage, AskingStage) or role_of(step.stage) not in models:
            continue
        model = models[role_of(step.stage)]
        endpoint = step.stage.endpoint if isinstance(step.stage, RowStage) else None
        said = _inability(step.name, role_of(step.stage), model.uri, endpoint)
        if said is not None:
            problems.add(RecipeError(said))
    if not needed:
        return
    wants = {"st": ("torch", "sentence_transformers"), "hf": ("torch", "transformers")}
    wants["tiny"] = wants["hf"]
    for role in asked_roles(found):
        if role not in models:
            continue
        parsed = models[role].uri
        if parsed.scheme == "vllm":
            _check_vllm(models[role], role, problems)
        missing = [name for name in wants.get(parsed.scheme, ()) if find_spec(name) is None]
        if missing:
            named = f"{parsed.scheme}:{parsed.place}" if parsed.place else parsed.scheme
            problems.add(
                RecipeError(f"the {role} {named} needs {', '.join(missing)}: {pip_line('train')}.")
            )


def _check_vllm(model: Model, role: Role, problems: Problems) -> None:
    """The interpreter that serves has to have vLLM, and this one what fetches a model."""
    from pipeline.teacher.vllm.command import check_installed

    try:
        check_installed(model.vllm, role)
    except RecipeError as error:
        problems.add(error)
    if model.uri.hub and find_spec("huggingface_hub") is None:
        problems.add(
            RecipeError(
                f"the {role} vllm:{model.uri.hub} needs huggingface_hub: "
                f"{pip_line('train')}, or name a folder."
            )
        )


def _inability(step: str, role: Role, parsed: uri.TeacherURI, endpoint: str | None) -> str | None:
    """Why a model cannot answer a stage, in words; null where it can."""
    if endpoint == "score" and parsed.scheme not in ("openai", "vllm", *HERE):
        return (
            f"{step}: {parsed.scheme} measures no token loss: name a scorer with "
            "--scorer hf:FOLDER, hf:ORG/NAME, vllm:FOLDER, openai:MODEL@URL (vLLM), or tiny."
        )
    if endpoint != "score" and parsed.scheme in HERE:
        return (
            f"{step}: {parsed.scheme} only measures token loss: name a model that writes text "
            f"with --{role} openai:MODEL."
        )
    if endpoint == "embeddings" and parsed.scheme == "vllm":
        return (
            f"{step}: a vLLM that synth starts writes text and makes no vectors: start  vllm serve "
            "MODEL --runner pooling  and name it as openai:MODEL@URL, or a model's folder with "
            f"--{role} st:FOLDER."
        )
    if endpoint == "embeddings" and parsed.scheme == "offline":
        return (
            f"{step}: the offline teacher has no embeddings: name a server with "
            "--teacher openai:MODEL@URL, or a model's folder with --teacher st:FOLDER."
        )
    if endpoint != "embeddings" and parsed.scheme == "st":
        return (
            f"{step}: the {role} st:{parsed.place} only makes vectors: name "
            f"one that writes text with --{role} openai:MODEL, and embed in a run of its own."
        )
    return None


def check_offline(
    found: Recipe, models: Mapping[Role, Model], source: Source | None, problems: Problems
) -> None:
    """The offline teacher answers its own tasks; to anybody else's it would only say sorry."""
    asking = [
        step
        for step in found.steps
        if isinstance(step.stage, AskingStage)
        and role_of(step.stage) in models
        and models[role_of(step.stage)].uri.scheme == "offline"
    ]
    if not asking:
        return
    from pipeline.teacher.offline import TEMPLATES  # only where it is asked

    for step in asking:
        assert isinstance(step.stage, AskingStage)
        for name in prompts_of(step.stage, step.config):
            if name not in TEMPLATES and name != "embed":
                problems.add(
                    RecipeError(
                        f"{step.name}: the offline teacher does not know the template {name!r}: "
                        f"name a {role_of(step.stage)} with --{role_of(step.stage)}."
                    )
                )
    if source is None:
        return
    writers = sorted(source.writers() - {"offline"})
    is_seeds = isinstance(found.steps[0].config, seed_rows.Config)
    if writers:
        roles = {role_of(step.stage) for step in asking if isinstance(step.stage, AskingStage)}
        role = "judge" if roles == {"judge"} else "teacher"
        problems.add(
            RecipeError(
                f"{', '.join(step.name for step in asking)}: the offline teacher answers only rows "
                f"that it wrote, and these are by {', '.join(writers[:3])}: name a {role} with "
                f"--{role}{', or a run that it wrote with --input' if is_seeds else ''}."
            )
        )


def check_prices(found: Recipe, models: Mapping[Role, Model], problems: Problems) -> None:
    """A cap in dollars holds only where every model that is paid has a price."""
    if found.settings.budget.usd is None:
        return
    unpriced = {
        models[role].name: None
        for role in asked_roles(found) or ("teacher",)
        if role in models
        and models[role].uri.scheme != "vllm"
        and models[role].name not in found.settings.prices
    }
    for name in unpriced:
        problems.add(
            RecipeError(
                f"budget.usd is set and the price of {name} is not known: add it under "
                f"'prices' ({{{name}: {{input: ..., output: ...}}}}, $ a million tokens)."
            )
        )
