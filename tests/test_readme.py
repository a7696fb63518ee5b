"""What the README says is what happens: its examples, its first command, its tables."""

import importlib.util
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pipeline import errors, format_templates, recipe
from pipeline.run.prepare import Options, prepare
from pipeline.stage import AskingStage, ImportStage, Stage
from pipeline.stages import STAGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _examples() -> object:
    path = ROOT / "scripts" / "readme_examples.py"
    spec = importlib.util.spec_from_file_location("readme_examples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_answers_what_the_readme_shows(tmp_path: Path) -> None:
    examples = _examples()
    shown = examples.without_what_varies(examples.section(README))
    answered = examples.without_what_varies(examples.render(tmp_path))
    assert answered.split("\n") == shown.split("\n")


def templates_shown() -> dict[str, str]:
    """The templates that the README shows, by their names."""
    shown = re.findall(r"^```jinja\n(.+?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return {one.partition("name: ")[2].partition("\n")[0]: one for one in shown}


def test_the_templates_that_the_readme_shows_for_format_can_be_rendered() -> None:
    (found,) = format_templates.parse(templates_shown()["mood"], where="README.md").templates
    assert (found.label, found.form) == ("mood/shout@1", "prefix")
    made = found.render({"text": "Rain!", "label": "wet"})
    assert (made.instruction, made.output) == ("RAIN! Which mood is this?", "wet")


def test_the_template_that_the_readme_shows_can_be_asked_with(tmp_path: Path) -> None:
    shown = templates_shown()["evolve-legal"]
    (tmp_path / "evolve-legal.md").write_text(shown, encoding="utf-8")
    options = Options(
        "evol-instruct",
        teacher="openai:m@http://127.0.0.1:9/v1",
        settings=[
            f"prompts={tmp_path}",
            "evolve.operations={legal: {kind: depth, template: evolve-legal}}",
        ],
        out=str(tmp_path / "run"),
    )
    found = prepare(options, {}).templates["evolve-legal"]
    assert found.label == "evolve-legal@1"
    assert "Input: b" in found.render({"instruction": "a", "input": "b"})
    assert "Input" not in found.render({"instruction": "a", "input": ""})


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_in_the_table_of_stages(stage: Stage) -> None:
    asks = getattr(stage, "role", "teacher") if isinstance(stage, AskingStage) else ""
    assert re.search(rf"^\| `{stage.name}` \| .+ \| {asks} ?\|$", README, re.MULTILINE)


def test_the_table_of_ways_in_says_what_each_recipe_starts_from() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (seed tasks|`--input`) \|", README, flags=re.MULTILINE)
    assert {name for name, _ in rows} >= {"one-call", "unnatural", "respond", "backtranslate"}
    for name, start in rows:
        first = recipe.parse(recipe.builtin_text(name), where=name).steps[0].stage
        assert isinstance(first, ImportStage) is (start == "`--input`"), name


def test_every_command_has_an_example_or_is_named() -> None:
    from pipeline.cli.commands import app

    for command in app.registered_commands:
        assert f"$ synth {command.name}" in README, command.name


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    codes = {error.exit_code for error in errors.SynthError.__subclasses__()}
    assert table == codes | {0, errors.SynthError.exit_code}


def test_every_core_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    rows = re.findall(r"^\| ([a-z0-9, -]+) \|", README, flags=re.MULTILINE)
    explained = {name.strip() for row in rows for name in row.split(",")}
    assert named <= explained


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without network and without touching the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*line, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_runs_the_first_command_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    import pyarrow.dataset

    place = tmp_path / "venv"
    venv.EnvBuilder(with_pip=True, symlinks=True).create(place)
    # what the wheel needs is installed here already; only the wheel itself is to be seen as it is
    pip = [str(place / "bin" / "pip"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    # a .pth that adds our site-packages would bring the editable checkout along: name it directly
    site = next(path for path in sys.path if path.endswith("site-packages"))
    found = next((place / "lib").glob("python*/site-packages"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "PYTHON"))}
    environment["PYTHONPATH"] = f"{found}:{site}"
    command = [str(place / "bin" / "synth"), "run", "self-instruct"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where = "import pipeline; print(pipeline.__file__)"
    line = [str(place / "bin" / "python"), "-c", where]
    told = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert str(place) in told.stdout
    kept = pyarrow.dataset.dataset(tmp_path / "runs/self-instruct/stages/04-filter/kept")
    rows = kept.to_table(columns=["parent_id", "output"]).to_pylist()
    assert len({row["parent_id"] for row in rows if row["output"]}) >= 200


def test_the_core_is_small_and_without_torch_or_pandas() -> None:
    """Walks the installed metadata: what `pip install synth` brings, extras left out."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    seen: set[str] = set()
    todo = [("synth", frozenset[str]())]
    while todo:
        name, extras = todo.pop()
        for line in requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            wanted = marker is None or any(
                marker.evaluate({"extra": extra}) for extra in (*extras, "")
            )
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if wanted and key not in seen:
                seen.add(key)
                todo.append((key, frozenset(requirement.extras)))
    assert len(seen) + 1 <= 40, sorted(seen)
    assert not seen & {"torch", "vllm", "ray", "pandas"}
