"""The models that a recipe evaluates: found, and looked at, before anything is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline import manifest
from pipeline.errors import InputError, Problems, RecipeError, SynthError
from pipeline.evaluate.family import same_family
from pipeline.extras import pip_line
from pipeline.manifest import RunManifest, StageManifest
from pipeline.model_files import MODEL
from pipeline.recipe import Recipe, Step
from pipeline.run.bases import base_of, check_base
from pipeline.run.roles import Model
from pipeline.run.source import Source
from pipeline.stage import EvaluateStage, Role, TrainStage
from pipeline.stages import win_rate
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings
from pipeline.train.described import BOTTLENECK
from pipeline.train.evaluate_settings import ADAPTER, BASE, OTHER, Config

Models = list[dict[str, str | None]]
"""Models that are asked: `name`, `base` and `adapter`, a folder each; null is no adapter."""
SERVED = ("lora", "rslora", "qlora")
"""Methods of training whose adapters vLLM serves as they are."""
HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""What a model of the hub is called."""
NEEDED = {"train": ("torch", "transformers", "peft"), "evaluate": ("rouge_score", "sacrebleu")}


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run has trained: its base, where that is known, and its adapter or whole model."""

    base: Model | None
    adapter: Path
    step: StageManifest


def find_evaluated(found: Recipe, source: Source | None, problems: Problems) -> dict[str, Model]:
    """The models of each stage that evaluates, as `STEP.base`, `STEP.adapter` and `STEP.other`.

    Those that the recipe itself trains are not there yet. What is wrong goes to `problems`.
    """
    models: dict[str, Model] = {}
    for at, step in enumerate(found.steps):
        if not isinstance(step.stage, EvaluateStage):
            continue
        assert isinstance(step.config, Config)
        _check_packages(step, problems)
        own = own_training(found, step)
        try:
            its_models = _models(step, step.config, own, source)
            models |= its_models
            if step.config.vllm is not None:
                _check_served(step, own, its_models)
            judges = any(one.stage is win_rate.STAGE for one in found.steps[at + 1 :])
            if judges and own is None and f"{step.name}.{ADAPTER}" not in its_models:
                raise RecipeError(
                    f"win-rate compares two models, and {step.name} has one: name an adapter with "
                    f"--set {step.name}.adapter=FOLDER, or leave --judge out."
                )
        except SynthError as error:
            problems.add(error)
    return models


def own_training(found: Recipe, step: Step) -> Step | None:
    """The stage of the recipe that trains before `step`; null where none does."""
    before = found.steps[: found.step_names.index(step.name)]
    return next((one for one in reversed(before) if isinstance(one.stage, TrainStage)), None)


def _check_served(step: Step, own: Step | None, models: Mapping[str, Model]) -> None:
    """Raise `RecipeError` where vLLM is to answer for an adapter that it cannot serve."""
    method = None if own is None else getattr(own.config, "method", None)
    if own is not None and method not in (*SERVED, "full"):
        raise RecipeError(
            f"{step.name}.vllm: vLLM serves adapters of {', '.join(SERVED)}, and {own.name}.method "
            f"is {method}: leave {step.name}.vllm out, and transformers answers."
        )
    for name, model in models.items():
        folder = Path(model.uri.folder)
        if model.uri.folder and is_adapter(folder):
            _check_servable(step.name, name, folder)


def _models(
    step: Step, config: Config, own: Step | None, source: Source | None
) -> dict[str, Model]:
    named: dict[str, Model] = {}
    if own is not None:
        if config.sizes:
            _check_sizes(step, own.name, own.config.model_dump(mode="json").get("distributed"))
        if given := [one for one in (BASE, ADAPTER) if getattr(config, one) is not None]:
            raise RecipeError(
                f"{step.name}.{given[0]}: the recipe trains one itself ({own.name}); leave it out, "
                f"or compare with {step.name}.other."
            )
    else:
        trained = trained_by(source.path) if source is not None and source.shards else None
        named[BASE] = _base(step, config, trained)
        if config.adapter is not None:
            named[ADAPTER] = _adapter(f"{step.name}.adapter", config.adapter)
        elif trained is not None:
            named[ADAPTER] = _folder_model(trained.adapter)
        if config.sizes and trained is None:
            raise RecipeError(
                f"{step.name}.sizes trains on shares of the rows that a model learned from: start "
                "from a run of 'sft' (--input), or take a recipe that trains, such as 'full'."
            )
        if config.sizes and trained is not None:
            _check_sizes(step, trained.step.name, trained.step.settings.get("distributed"))
    if config.other is not None:
        named[OTHER] = _adapter(f"{step.name}.other", config.other)
    return {f"{step.name}.{name}": model for name, model in named.items()}


def _check_sizes(step: Step, training: str, distributed: Mapping[str, Any] | None) -> None:
    """Raise `RecipeError` where the trainings of a curve would be started that nobody is to."""
    if (distributed or {}).get("by_hand"):
        raise RecipeError(
            f"{step.name}.sizes trains on each share itself, and {training}.distributed.by_hand "
            f"says that nothing is started: leave {step.name}.sizes out."
        )


def _base(step: Step, config: Config, trained: Trained | None) -> Model:
    if config.base is not None:
        return base_of(f"{step.name}.base", config.base)
    if trained is None:
        raise RecipeError(
            f"{step.name} evaluates a model, and none is named: --set {step.name}.base=FOLDER (or "
            f"ORG/NAME) and --set {step.name}.adapter=FOLDER, or start from a run of 'sft'."
        )
    if trained.base is None:
        raise InputError(
            f"{trained.adapter.parents[1]} was trained on a base that is not there any more: name "
            f"it with --set {step.name}.base=FOLDER."
        )
    return trained.base


def trained_by(run: Path) -> Trained | None:
    """What the run in a folder has trained; null where it is no such run, or not that far."""
    adapter = next(
        (path for name in ("adapter", "full") if (path := run / MODEL / name).is_dir()), None
    )
    states = [manifest.read(StageManifest, path) for path in run.glob("stages/*/stage.json")]
    step = next((one for one in states if one.stage == "sft"), None)
    if adapter is None or step is None:
        return None
    made_here = run / MODEL / "base"
    if made_here.is_dir():
        return Trained(_folder_model(made_here), adapter, step)
    named = step.settings.get("base")
    if named is None:
        return Trained(None, adapter, step)
    identity = manifest.read(RunManifest, run / "run.json").identity
    revision = identity.get(f"{step.name}.revision")
    if revision and not Path(named).is_dir():
        named = f"{str(named).partition('@')[0]}@{revision}"
    try:
        return Trained(base_of(f"the base of {run}", str(named)), adapter, step)
    except RecipeError:
        return Trained(None, adapter, step)


def _adapter(setting: str, named: str) -> Model:
    """An adapter, or a whole model, as it is named: a folder."""
    folder = Path(named)
    if not folder.is_dir():
        raise RecipeError(f"{setting}: there is no folder {named}.")
    if is_adapter(folder):
        if not list(folder.glob("*.safetensors")):
            raise RecipeError(
                f"{setting}: {folder} has no weights in safetensors; adapters of other formats "
                "are not read. Save it anew."
            )
        return _folder_model(folder)
    if (folder / MODEL).is_dir():
        raise RecipeError(
            f"{setting}: {folder} is a run: name the adapter in it, {folder / MODEL / 'adapter'}."
        )
    if not (folder / "config.json").is_file():
        raise RecipeError(
            f"{setting}: {folder} is no adapter (no adapter_config.json) and no model (no "
            "config.json)."
        )
    check_base(setting, folder)
    return _folder_model(folder)


def described(adapter: Path) -> dict[str, Any]:
    """What an adapter's configuration says of it."""
    path = next(one for one in (adapter / "adapter_config.json", adapter / BOTTLENECK)
                if one.is_file())  # fmt: skip
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not a whole model."""
    return any((folder / name).is_file() for name in ("adapter_config.json", BOTTLENECK))


def _folder_model(folder: Path) -> Model:
    parsed = uri.parse(f"hf:{folder}")
    return Model(
        replace(parsed, sha256=uri.folder_sha256(str(folder))), uri.NO_KEY, TeacherSettings()
    )


def _check_servable(step: str, named: str, adapter: Path) -> None:
    """Raise `RecipeError` where vLLM cannot serve an adapter, or would serve something else."""
    config = described(adapter)
    kind, start = config.get("peft_type") or config.get("method"), config.get("init_lora_weights")
    why = None
    if kind != "LORA":
        why = f"it is of the kind {kind}"
    elif config.get("use_dora"):
        why = "it is a DoRA"
    elif isinstance(start, str) and start.startswith(("pissa", "olora", "corda")):
        why = f"it was begun as {start}, which changes the base as well"
    elif config.get("modules_to_save"):
        why = "it holds whole layers beside its ranks"
    if why is not None:
        raise RecipeError(
            f"{named}: vLLM serves plain LoRA adapters alone, and of {adapter} {why}: leave "
            f"{step}.vllm out, and transformers answers."
        )


def check_bases_fit(models: Mapping[str, Model]) -> None:
    """Raise `InputError` where an adapter says that its base is another model.

    That is a folder with other weights, or a model of the hub by another name. Where that folder
    has gone nothing is said: shapes are looked at before weights are loaded.
    """
    for name, model in models.items():
        step, _, kind = name.rpartition(".")
        base = models.get(f"{step}.{BASE}")
        folder = Path(model.uri.folder)
        if kind == BASE or base is None or not base.uri.folder or not is_adapter(folder):
            continue
        said = described(folder)
        of = said.get("base_model_name_or_path")
        there = Path(base.uri.folder)
        if of and base.uri.hub and HUB.fullmatch(of) and not _is_called(of, base.uri.hub):
            raise InputError(
                f"{name}: {folder} is an adapter over {of}, and {step}.base is {base.uri.hub}: "
                f"--set {step}.base={of}; if both are the same weights, write the one for the "
                "other into its adapter_config.json (base_model_name_or_path)."
            )
        if not of or not Path(of).is_dir() or Path(of).resolve() == there.resolve():
            continue
        if uri.folder_sha256(of) != base.sha256:
            raise InputError(
                f"{name}: {folder} is an adapter over {of}, and {step}.base is {there}, which is "
                f"another model: --set {step}.base={of}."
            )


def _is_called(one: str, other: str) -> bool:
    """Whether two names are those of one model of the hub, of whatever revision."""
    return one.partition("@")[0].lower() == other.partition("@")[0].lower()


def judge_family(
    found: Recipe, models: Mapping[Role, Model], judged: Mapping[str, Model]
) -> str | None:
    """The family that the judge of a win rate shares with a model that it judges; else null.

    Told from names alone, and for a folder from what its configuration calls the architecture.
    """
    if not any(step.stage is win_rate.STAGE for step in found.steps) or "judge" not in models:
        return None
    names = [name for model in judged.values() for name in _names(model)]
    return same_family(_names(models["judge"]), names)


def _names(model: Model) -> list[str]:
    """What a model is called: on its server or the hub, by its folder and its configuration."""
    if model.uri.scheme in ("openai", "offline", "tiny"):
        return [model.uri.model]
    names = [model.uri.hub or Path(model.uri.folder).resolve().name]
    path = Path(model.uri.folder) / "config.json"
    if model.uri.folder and path.is_file():
        described = json.loads(path.read_text(encoding="utf-8"))
        names += [str(described[key]) for key in ("model_type",) if described.get(key)]
    generic = ("adapter", "base", "model", "full", "merged", "checkpoint")
    return [name for name in names if name not in generic]


def _check_packages(step: Step, problems: Problems) -> None:
    assert isinstance(step.config, Config)
    if step.config.vllm is not None:
        from pipeline.teacher.vllm.command import check_installed

        try:
            check_installed(step.config.vllm, step.name)
        except RecipeError as error:
            problems.add(error)
    for extra, packages in NEEDED.items():
        if missing := [one for one in packages if find_spec(one) is None]:
            problems.add(RecipeError(f"{step.name} needs {', '.join(missing)}: {pip_line(extra)}."))
