"""The models that a recipe's stages train: found, and looked at, before anything is read."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import Problems, RecipeError, SynthError
from pipeline.extras import pip_line
from pipeline.recipe import Recipe
from pipeline.run.roles import Model
from pipeline.stage import TrainStage
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings
from pipeline.train.settings import Config

NEEDED = ("torch", "transformers", "peft", "trl", "datasets", "accelerate")


def find_bases(found: Recipe, problems: Problems) -> dict[str, Model]:
    """The base of each stage that trains one that is named, by the stage's name.

    What is wrong with one, or is not installed, goes to `problems`.
    """
    bases: dict[str, Model] = {}
    for step in found.steps:
        if not isinstance(step.stage, TrainStage):
            continue
        assert isinstance(step.config, Config)
        _check_packages(step.name, step.config, problems)
        if step.config.base is None:
            continue
        try:
            bases[step.name] = base_of(f"{step.name}.base", step.config.base)
        except SynthError as error:
            problems.add(error)
    return bases


def _check_packages(name: str, config: Config, problems: Problems) -> None:
    needed = {"train": NEEDED, "quant": ("bitsandbytes",) if config.is_quantized else ()}
    for extra, packages in needed.items():
        if missing := [one for one in packages if find_spec(one) is None]:
            problems.add(RecipeError(f"{name} needs {', '.join(missing)}: {pip_line(extra)}."))


def base_of(setting: str, named: str) -> Model:
    """A base as it is named; the digest of its files, where it is a folder."""
    try:
        parsed = uri.parse(f"hf:{named}")
    except RecipeError as error:
        raise RecipeError(
            f"{setting}: there is no folder {named}, and no model of the Hugging Face hub can be "
            "called that: write a folder, ORG/NAME or ORG/NAME@REVISION."
        ) from error
    if parsed.folder:
        check_base(setting, Path(parsed.folder))
        parsed = replace(parsed, sha256=uri.folder_sha256(parsed.folder))
    return Model(parsed, uri.NO_KEY, TeacherSettings())


def check_base(setting: str, folder: Path) -> None:
    """Raise `RecipeError` where a folder is no model that can be trained on conversations."""
    if (folder / "adapter_config.json").is_file():
        raise RecipeError(
            f"{setting}: {folder} is an adapter: name the base that it was trained on, or the two "
            "merged into one."
        )
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise RecipeError(
            f"{setting}: {folder} has no config.json with weights in safetensors; others are not "
            "read. Save the model anew."
        )
    described = folder / "tokenizer_config.json"
    has_template = (folder / "chat_template.jinja").is_file() or (
        described.is_file() and b'"chat_template"' in described.read_bytes()
    )
    if not has_template:
        raise RecipeError(
            f"{setting}: {folder} has no chat template: name an instruction-tuned model, or put a "
            "chat_template.jinja into it."
        )
