"""What a fine-tuning reads beside its rows, and is refused before anything runs."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline import recipe
from pipeline.errors import Problems, RecipeError
from pipeline.run.fine_tuning import check_fine_tuning

RECIPE = """
name: mine
{more}
stages:
  - stage: import
  - stage: sft
    {settings}
"""


def wrong(settings: str, more: str = "") -> str:
    """What is said of a recipe; nothing where it is well."""
    problems = Problems()
    text = RECIPE.format(settings=settings, more=more)
    check_fine_tuning(recipe.parse(text, where="mine"), problems)
    try:
        problems.raise_if_any()
    except RecipeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("curriculum: instruction", "sft.curriculum: column 'instruction' holds no numbers"),
        ("curriculum: rating", ""),
        ("curriculum: {by: ifd, descending: true}", ""),
        ("phases: [{where: {rating: ['5']}}]", "sft.phases: column 'rating' holds no text"),
        ("phases: [{where: {data_set: [easy]}}, {}]", ""),
        ("plain: {file: nowhere.txt}", "sft.plain.file: plain text: nowhere.txt cannot be read"),
    ],
)
def test_columns_and_files_are_looked_at(settings: str, told: str) -> None:
    found = wrong(settings)
    assert told in found
    assert bool(told) == bool(found)


def test_plain_text_is_not_learned_beside_rows_that_are_masked(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("A text.")
    settings = f"plain: {{file: {tmp_path}/plain.txt}}"
    assert "rows are masked, and plain text is learned as it stands" in wrong(
        settings, "mask: [email]"
    )
    assert wrong(settings) == ""


@pytest.mark.parametrize("package", ["tensorboard", "deepspeed"])
def test_a_package_that_is_asked_for_has_to_be_there(package: str) -> None:
    settings = {
        "tensorboard": "tensorboard: true",
        "deepspeed": "distributed: {strategy: deepspeed, deepspeed: {train_batch_size: 8}}",
    }
    told = f"needs {package}: pip install {package}"
    assert (told in wrong(settings[package])) == (find_spec(package) is None)


@pytest.mark.parametrize(
    ("sft", "export", "is_refused"),
    [("", "", False), ("validation: 0.2", "validation: 0.2", False),
     ("validation: 0.2", "", True), ("", "validation: 0.1", True)],
)  # fmt: skip
def test_rows_of_a_training_are_in_no_validation_of_the_data(
    sft: str, export: str, is_refused: bool
) -> None:
    said = wrong(f"{sft}\n  - stage: export\n    {export}")
    assert ("Set both alike, as in  --set export.validation=0." in said) is is_refused
    assert bool(said) is is_refused
