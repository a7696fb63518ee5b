"""Templates of a user's own: bounded before anything is sent, and else as ours."""

from pathlib import Path

import pytest

from pipeline import templates
from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS
from pipeline.run.example_requests import example_requests
from pipeline.run.prepare import Options, prepare
from pipeline.stage import AskingStage
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

SETTINGS = ("bootstrap.target=30", "bootstrap.window=8")
PLACE = "---\n"  # the text begins after the second of these


def own(folder: Path, name: str, before: str) -> Path:
    """A folder with one of our templates, and something before its text."""
    head, header, text = (PROMPTS / f"{name}.md").read_text(encoding="utf-8").split(PLACE, 2)
    folder.mkdir(parents=True)
    changed = PLACE.join([head, header, before + text])
    (folder / f"{name}.md").write_text(changed, encoding="utf-8")
    return folder


def test_a_template_that_computes_asks_what_one_that_does_not_asks(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    given = {"teacher": teacher, "until": "classify"}
    run_synth(tmp_path / "ours", *SETTINGS, **given)
    own(tmp_path / "mine", "bootstrap", "{% set n = tasks | length * 2 %}")
    run_synth(tmp_path / "own", *SETTINGS, f"prompts={tmp_path / 'mine'}", **given)
    assert books.data_files(tmp_path / "own") == books.data_files(tmp_path / "ours")
    sent = [event["hash"] for event in server.history("request") if event["kind"] == "chat"]
    half = len(sent) // 2
    assert set(sent[:half]) & set(sent[half:])


def test_a_template_that_takes_for_ever_is_refused_before_any_request(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    before = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    prompts = own(tmp_path / "mine", "classify", before)
    with pytest.raises(RecipeError) as caught:
        run_synth(
            tmp_path / "run",
            *SETTINGS,
            f"prompts={prompts}",
            teacher=f"openai:test-model@{server.url}",
        )
    assert caught.value.exit_code == 2
    assert f"{prompts / 'classify.md'}: the template takes more than" in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert server.counts().get("requests", 0) == 0


def test_one_that_takes_for_ever_over_what_it_is_given_ends_the_run_with_2(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    loop = "{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}"
    before = "{% set n = [instruction | length * 10000, 100000] | min %}" + loop
    prompts = own(tmp_path / "mine", "classify", before)
    with pytest.raises(RecipeError, match=r"classify\.md: the template takes more than") as caught:
        run_synth(
            tmp_path / "run",
            *SETTINGS,
            f"prompts={prompts}",
            teacher=f"openai:test-model@{server.url}",
            until="classify",
        )
    assert caught.value.exit_code == 2
    assert len(books.rows(tmp_path / "run", "bootstrap")) >= 30


LEGAL = "---\nname: {0}\nversion: 1\nvariables: [{1}]\nsource: mine\n---\n{2}\n"


def of_ones_own(folder: Path, name: str, variables: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(LEGAL.format(name, variables, text), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("recipe", "name", "operations", "says"),
    [
        (
            "evol-instruct",
            "evolve-legal",
            "{legal: {kind: depth, template: evolve-legal}}",
            r"evolve-legal\.md: the text uses 'domain', and evolve gives this template "
            r"instruction, input\.",
        ),
        (
            "evol-instruct",
            "respond",
            "{}",
            r"respond\.md: the text uses 'domain', and evolve gives this template instruction, inp",
        ),
        (
            "evol-instruct",
            "unused",
            "{a: {kind: depth, template: compare}}",
            r"compare\.md: the text uses 'first', 'second', and evolve gives this template instr",
        ),
    ],
)
def test_a_name_that_the_stage_gives_no_value_is_refused_before_anything(
    recipe: str,
    name: str,
    operations: str,
    says: str,
    run_synth: RunSynth,
    server: Server,
    tmp_path: Path,
) -> None:
    text = "{{ instruction }} {{ input }} in {{ domain }}"
    folder = of_ones_own(tmp_path / "mine", name, "instruction, input, domain", text)
    with pytest.raises(RecipeError, match=says) as caught:
        run_synth(
            tmp_path / "run",
            f"prompts={folder}",
            f"evolve.operations={operations}",
            recipe=recipe,
            teacher=f"openai:test-model@{server.url}",
        )
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()
    assert server.counts().get("requests", 0) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ instruction.domain }}", "UndefinedError: .*domain"),
        ("{% for i in range(instruction | length * 10000000) %}{% endfor %}", "OverflowError"),
        ("{% if instruction < 3 %}{% endif %}", "TypeError"),
    ],
)
def test_a_template_that_does_not_suit_its_values_ends_the_run_with_2(
    text: str, says: str, run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    folder = of_ones_own(tmp_path / "mine", "classify", "instruction", text)
    with pytest.raises(RecipeError, match=rf"classify\.md: .* for classify: .*{says}") as caught:
        run_synth(
            tmp_path / "run",
            *SETTINGS,
            f"prompts={folder}",
            teacher=f"openai:test-model@{server.url}",
        )
    assert caught.value.exit_code == 2
    assert len(books.rows(tmp_path / "run", "bootstrap")) >= 30


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("self-instruct", {}),
        ("one-call", {}),
        ("unnatural", {}),
        ("evol-instruct", {}),
        ("respond", {}),
        ("respond", {"settings": ["respond.steps=false"]}),
        ("backtranslate", {}),
        ("curate", {"judge": "offline"}),
        ("compare", {"judge": "openai:judge@http://127.0.0.1:1/v1"}),
        ("embed", {}),
    ],
)
def test_our_own_templates_use_all_that_their_stage_gives_them(
    recipe: str, given: dict[str, str], small_run: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
    is_drafting = recipe in ("self-instruct", "one-call", "unnatural")
    source = None if is_drafting else str(pairs if recipe == "compare" else small_run)
    teacher = "openai:teacher@http://127.0.0.1:1/v1"
    options = Options(recipe, input=source, teacher=teacher, needs_key=False, **given)  # type: ignore[arg-type]
    prepared = prepare(options)
    n_requests = 0
    for index, step in enumerate(prepared.steps):
        if isinstance(step.stage, AskingStage):
            for request in example_requests(prepared, index, step, None):
                variables = templates.load(request.template).variables
                assert set(request.values) == set(variables), request.template
                n_requests += 1
                if n_requests % 20 == 0:
                    break
    assert n_requests
