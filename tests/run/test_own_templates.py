"""Templates of a user's own: bounded before anything is sent, and else as ours."""

from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.package_data import PROMPTS
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
