"""Recipes: every setting has one class, writing one out changes nothing, errors name the line."""

import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import recipe
from pipeline.errors import RecipeError
from pipeline.recipe import Recipe
from pipeline.stage import (
    DECISION,
    EXTENT,
    IDENTITY,
    OPERATIONAL,
    SettingClass,
    Settings,
    StageConfig,
)
from pipeline.stages import STAGES


def builtin(name: str = "self-instruct", **settings: object) -> Recipe:
    return recipe.parse(recipe.builtin_text(name), where=name, settings=settings)


GROUPS = {"bottleneck", "stopping", "curriculum", "plain", "phases", "distributed"}
"""Of `sft`: null, they say nothing of a run that was made before there were any."""
CARD = "card"
"""Of `export`, the same."""
VERDICTS = "verdicts"
"""Of `keep`."""


def leaves(model: Settings, path: str = "") -> set[str]:
    """Dotted paths of all settings, walked without looking at classes."""
    found = set()
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Settings):
            found |= leaves(value, f"{path}{name}.")
        elif value is not None or f"{path}{name}" not in {*GROUPS, CARD, VERDICTS, "vllm"}:
            found.add(f"{path}{name}")
    return found


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_setting_of_a_recipe_has_exactly_one_class(name: str) -> None:
    given: dict[str, object] = {
        "judge.uri": "openai:j@http://h/v1",
        "scorer.uri": "openai:s@http://h/v1",
    }
    given |= {f"{role}.vllm": {} for role in ("teacher", "judge", "scorer")}
    found = builtin(name, **given)
    classified = found.classified()
    expected = leaves(found.settings)
    for step in found.steps:
        expected |= {f"{step.name}.{path}" for path in leaves(step.config)}
    assert set(classified) == expected
    assert {"teacher.endpoint", "judge.endpoint", "scorer.endpoint"} <= set(classified)
    assert all(isinstance(kind, SettingClass) for kind, _ in classified.values())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_setting_of_every_stage_has_exactly_one_class(stage: recipe.Stage) -> None:
    config = stage.config()
    assert {path for path, _ in recipe.classified_settings(config)} == leaves(config)


def test_a_group_that_is_given_says_what_a_run_is_known_by() -> None:
    by_name = {stage.name: stage for stage in STAGES}
    given: dict[str, object] = {
        "bottleneck": {},
        "stopping": {},
        "curriculum": "rating",
        "plain": {"file": "x.txt"},
        "phases": [{}],
        "distributed": {},
        "method": "bottleneck",
    }
    assert given.keys() - {"method"} == GROUPS
    config = by_name["sft"].config.model_validate(given)
    classified = dict(recipe.classified_settings(config))
    assert classified.keys() == leaves(config)
    assert classified["curriculum.by"] == (DECISION, "rating")
    assert classified["plain.file"][0] == OPERATIONAL
    assert classified["phases"][0] == DECISION
    config = by_name["export"].config.model_validate({CARD: {"license": "mit"}})
    assert dict(recipe.classified_settings(config))["card.license"] == (DECISION, "mit")
    config = by_name["keep"].config.model_validate({VERDICTS: {}})
    assert dict(recipe.classified_settings(config))["verdicts.keep_unmarked"] == (DECISION, True)


def test_a_setting_without_class_or_with_two_is_found() -> None:
    class Bare(StageConfig):
        size: int = 1

    with pytest.raises(TypeError, match=r"Bare\.size"):
        list(recipe.classified_settings(Bare()))


def test_the_classes_are_those_of_the_design() -> None:
    found = {path: kind for path, (kind, _) in builtin().classified().items()}
    assert found["bootstrap.target"] is EXTENT
    for path in (
        "seed",
        "bootstrap.window",
        "bootstrap.threshold",
        "bootstrap.words_at_least",
        "classify.sampling.temperature",
        "instances.instances",
        "teacher.endpoint",
    ):
        assert found[path] is IDENTITY, path
    for path in ("filter.filters", "dedup.ignore_case", "export.validation"):
        assert found[path] is DECISION, path
    for path in ("teacher.concurrency", "teacher.uri", "teacher.key", "prices", "seeds"):
        assert found[path] is OPERATIONAL, path


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_a_recipe_written_out_is_the_same_recipe(name: str) -> None:
    found = builtin(name)
    assert recipe.parse(found.to_yaml(), where="again") == found


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@settings(max_examples=20)
@example(1, None, ["\x85", "a\u2028b", "\n16."], "\u2029")
@given(
    st.integers(1, 10**6),
    st.floats(0, 2) | st.none(),
    st.lists(TEXTS, max_size=4),
    TEXTS,
)
def test_any_settings_survive_being_written_out(
    target: int, temperature: float | None, stop: list[str], description: str
) -> None:
    given = {
        "bootstrap.target": target,
        "bootstrap.sampling.temperature": temperature,
        "bootstrap.sampling.stop": stop,
        "description": description,
    }
    found = builtin(**given)
    assert recipe.parse(found.to_yaml(), where="again") == found


def test_a_setting_lies_over_the_recipe_and_leaves_its_neighbours() -> None:
    found = builtin(
        **{"bootstrap.sampling.temperature": 1, "filter.filters.word_count.at_least": 2}
    )
    sampling = found.step("bootstrap").config.model_dump()["sampling"]
    assert (sampling["temperature"], sampling["top_p"]) == (1, 0.5)
    filters = found.step("filter").config.model_dump()["filters"]
    assert filters["word_count"] == {"at_least": 2, "at_most": 150}
    assert list(filters) == ["word_count", "keywords", "opening", "outputs", "instances"]


def test_two_stages_of_a_kind_need_names_of_their_own() -> None:
    stages = "[{stage: bootstrap}, {stage: dedup}, {stage: dedup%s}]"
    text = f"name: a\nstages: {stages}"
    with pytest.raises(RecipeError, match="two stages are called 'dedup'"):
        recipe.parse(text % "", where="x")
    assert recipe.parse(text % ", name: again", where="x").step_names[-1] == "again"


@pytest.mark.parametrize(
    "name",
    ["../../up", "a/b", "", " ", "a.b", ".hidden", "-a", "x" * 101, "a\n", "teacher", "seed"],
)
def test_a_stage_cannot_have_a_name_that_leads_elsewhere(name: str) -> None:
    text = yaml.safe_dump({"name": "a", "stages": [{"stage": "bootstrap", "name": name}]})
    with pytest.raises(RecipeError, match="a stage cannot have the name"):
        recipe.parse(text, where="x")


def test_settings_are_read_as_yaml() -> None:
    assert recipe.parse_setting("bootstrap.target=100") == ("bootstrap.target", 100)
    assert recipe.parse_setting("a.stop=['x', y]") == ("a.stop", ["x", "y"])
    assert recipe.parse_setting("a.b=") == ("a.b", "")
    assert recipe.parse_setting("a.b=c=d") == ("a.b", "c=d")
    assert recipe.parse_setting("a.b=null") == ("a.b", None)


def test_a_single_stage_is_a_recipe() -> None:
    text, where = recipe.find("dedup")
    assert recipe.parse(text, where=where).step_names == ("dedup",)


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("bootstrap.target", "5", 5), ("bootstrap.target", '"5"', 5),
        ("bootstrap.target", "5.0", 5), ("teacher.timeout_s", "1e3", 1000.0),
        ("teacher.timeout_s", "'0.5'", 0.5),
        ("teacher.timeout_s", "1", 1.0), ("bootstrap.window", "null", None),
    ],
)  # fmt: skip
def test_a_number_may_be_written_as_text(path: str, value: str, read: float | None) -> None:
    found = builtin(**dict([recipe.parse_setting(f"{path}={value}")]))
    assert found.classified()[path][1] == read


def test_no_setting_takes_true_or_false_for_a_number() -> None:
    """Every model of settings that there is, every field that can be a number."""
    models, n = list(Settings.__subclasses__()), 0
    for model in models:
        models += model.__subclasses__()
        for name, info in model.model_fields.items():
            said = str(info.annotation)
            if not re.search(r"\b(int|float|Decimal)\b", said):
                continue
            assert "bool" not in said
            n += 1
            for value in (True, False):
                with pytest.raises(ValidationError) as caught:
                    model.model_validate({name: value})
                found = {error["loc"]: error["type"] for error in caught.value.errors()}
                assert found[(name,)] == "flag_for_number"
    assert n > 80


def test_a_name_that_is_a_recipe_and_a_stage_is_listed_once() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.find("nope")
    said = str(caught.value)
    assert "one-call" in said
    assert all(said.count(f" {name},") == 1 for name in ("one-call", "unnatural", "respond"))


def test_what_a_message_names_already_is_not_said_again() -> None:
    text = "name: a\nstages:\n  - stage: decontaminate\n    benchmarks: nope.jsonl\n"
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, where="a")
    assert str(caught.value) == (
        "a: line 4: decontaminate.benchmarks: nope.jsonl cannot be read: No such file or directory."
    )


WAITS = "name: a\nstages:\n  - stage: import\n  - stage: select\n    when: count\n"


def test_a_stage_can_wait_for_a_setting_of_its_own() -> None:
    found = recipe.parse(WAITS, where="a")
    assert found.step_names == ("import",)
    assert found.said_of_left_out() == ["select is left out: it wants select.count (--set)."]
    assert recipe.parse(found.to_yaml(), where="a") == found
    stands = recipe.parse(WAITS, where="a", settings={"select.count": 5})
    assert stands.step_names == ("import", "select")
    assert stands.said_of_left_out() == []


@pytest.mark.parametrize(
    ("stage", "says", "setting"),
    [("select", "select keeps every row", {"select.count": 5}),
     ("mix", "mix keeps every row", {"mix.cap": 5}),
     ("quality", "quality scores no row", {}),
     ("decontaminate", "decontaminate looks for nothing", {})],
)  # fmt: skip
def test_a_stage_alone_that_would_do_nothing_says_so(
    stage: str, says: str, setting: dict[str, int]
) -> None:
    text = f"name: a\nstages:\n  - stage: import\n  - stage: {stage}\n"
    assert recipe.parse(text, where="a").said_of_left_out()[0].startswith(says)
    if setting:
        assert recipe.parse(text, where="a", settings=setting).said_of_left_out() == []


def test_several_that_wait_are_said_in_one_line() -> None:
    said = recipe.parse(recipe.builtin_text("curate"), where="curate").said_of_left_out()
    names, wanted = "quality, mix, select, order", "quality.labelled, mix.method, select.count"
    assert f"{names} are left out: they want {wanted}, order.by (--set)." in said


def test_a_setting_of_a_stage_that_waits_for_another_is_refused_with_what_to_set() -> None:
    with pytest.raises(RecipeError, match=r"--set select\.seed: select is left out: it wants"):
        recipe.parse(WAITS, where="a", settings={"select.seed": 5})


def test_what_a_stage_waits_for_is_a_role_or_a_setting_that_it_has() -> None:
    with pytest.raises(RecipeError, match=r"select\.when: it is judge or scorer, or a setting of"):
        recipe.parse(WAITS.replace("count", "luck"), where="a")
