"""Why a run ended stands in its manifest, and `synth status` says it with what to do next."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.cli import look
from pipeline.errors import RecipeError, StorageError, SynthError
from pipeline.manifest import Ended
from pipeline.run.estimate import estimate
from pipeline.run.folder import not_written
from pipeline.run.prepare import Options, prepare
from pipeline.status import asked
from pipeline.teacher.journal import NEEDED
from tests.conftest import RunSynth
from tests.teacher_server.process import Server

SETTINGS = ("bootstrap.target=30", "bootstrap.window=8")
REFUSED = [{"fault": "unauthorized"}]
BAD = "---\nname: classify\nversion: 1\nvariables: [instruction]\nsource: mine\n---\n{}\n"


def ending_of(run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Ended | None, str]:
    """What the manifest says, and what the status says of it."""
    capsys.readouterr()
    look.status(str(run))
    text = capsys.readouterr().out
    look.status(str(run), as_json=True)
    tree = json.loads(capsys.readouterr().out)
    ended = open_run(run).manifest.ended
    assert tree["ended"] == (None if ended is None else ended.model_dump())
    return ended, text


@pytest.mark.parametrize(
    ("more", "plan", "code", "does"),
    [
        (("budget.requests=5",), [], 3, "raise the cap with --set budget..., then start the same"),
        ((), REFUSED, 5, "mend what the teacher refuses (key, model, quota, parameter), then sta"),
        (("prompts=mine",), [], 2, "mend what it says, then start the same command again"),
    ],
)
def test_a_run_that_ended_says_why_and_what_comes_next(
    more: tuple[str, ...],
    plan: list[dict[str, object]],
    code: int,
    does: str,
    run_synth: RunSynth,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classify.md").write_text(BAD.format("{{ instruction.domain }}"))
    server.set_plan(plan)
    teacher = f"openai:test-model@{server.url}"
    with pytest.raises(SynthError) as caught:
        run_synth(tmp_path / "run", *SETTINGS, *more, teacher=teacher)
    assert caught.value.exit_code == code
    ended, text = ending_of(tmp_path / "run", capsys)
    assert ended == Ended(exit_code=code, message=str(caught.value))
    assert f"{tmp_path / 'run'}: stopped\n" in text
    assert f"\nended with {code}: {caught.value}\n" in text
    assert f"\nnext: {does}" in text
    if code != 2:  # its template is what the run is known by
        server.set_plan([])
        run_synth(tmp_path / "run", *SETTINGS, teacher=teacher)
        ended, text = ending_of(tmp_path / "run", capsys)
        assert ended is None
        assert "ended with" not in text


def test_a_disk_that_fails_is_named_in_the_manifest_where_that_can_still_be_written(
    run_synth: RunSynth,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsync, failed = os.fsync, []

    def full(handle: int) -> None:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        if "/.staging/" in path and not failed:
            failed.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError) as caught:
            run_synth(tmp_path / "run", *SETTINGS)
    assert failed
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'run' / 'stages' / '01-bootstrap'}")
    assert ".parquet cannot be written: No space left on device. " in said
    assert f" bytes are free there, make room for {NEEDED}. Nothing that was received" in said
    ended, text = ending_of(tmp_path / "run", capsys)
    assert ended is not None
    assert ended.exit_code == 7
    assert "run: stopped\n" in text
    assert "next: make room, or give the process what it wants, then start the same" in text
    assert run_synth(tmp_path / "run", *SETTINGS).ended is None


def test_a_write_that_fails_otherwise_wants_no_room(tmp_path: Path) -> None:
    said = str(not_written(tmp_path, OSError(errno.EIO, "Input/output error")))
    assert said.startswith(f"{tmp_path} cannot be written: Input/output error. Nothing")
    assert said.endswith("start the same command again once it can be.")
    of_file = OSError(errno.EDQUOT, "Disk quota exceeded", str(tmp_path / "a" / "b"))
    assert str(tmp_path / "a" / "b") in str(not_written(tmp_path, of_file))


@pytest.mark.parametrize("out", ["mine.csv", "mine.csv/run"])
def test_a_file_is_no_place_for_a_run(out: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("instruction\nSing.\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        prepare(Options("self-instruct", out=str(tmp_path / out)))
    assert str(caught.value) == (
        f"{tmp_path / 'mine.csv'} is a file, and --out names the folder of a run: name another one."
    )


def test_a_disk_that_is_nearly_full_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil._ntuple_diskusage(2**30, 2**30 - 3 * 2**20, 3 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: found)
    with pytest.raises(StorageError, match=r"3 MiB free, .* 256: make room there, or .* --out\."):
        prepare(Options("self-instruct", out=str(tmp_path / "run")))


def test_a_run_that_asks_nobody_says_so(
    run_synth: RunSynth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Name a river.", "output": "The Po."}\n', encoding="utf-8")
    run_synth(tmp_path / "run", recipe="dedup", input=str(rows))
    look.status(str(tmp_path / "run"))
    text = capsys.readouterr().out
    assert "recipe dedup, nobody is asked, synth " in text
    assert ", 1 row kept\n" in text
    found = estimate(prepare(Options("dedup", input=str(rows), out=str(tmp_path / "other"))))
    assert found.as_text().startswith(f"dedup in {tmp_path / 'other'}, nobody is asked. Nothing")


def test_who_is_asked_is_named_by_role(small_run: Path) -> None:
    state = open_run(small_run).manifest
    assert asked(state) == "teacher offline"
    rated = {"stages": ["import", "rate", "difficulty"], "scorer.model": "tiny"}
    judged = state.model_copy(update={"judge": "j", "identity": rated})
    assert asked(judged) == "judge j, scorer tiny"
    assert asked(judged.model_copy(update={"judge": None})) == "teacher offline, scorer tiny"
