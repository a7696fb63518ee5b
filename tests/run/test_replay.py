"""A replay builds the shards from the journal alone; what has no reply is asked afterwards."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import stages
from pipeline.cli import look, make
from pipeline.errors import InputError
from pipeline.inspect import open_run
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.stage import Drop, Reply, Row
from pipeline.stages import bootstrap
from pipeline.verify import verify
from tests.run import books
from tests.teacher_server.process import Server, running_server

SETTINGS = ("bootstrap.target=40", "bootstrap.window=8", "shard_rows=30")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "history.jsonl") as found:
        yield found


def _run(out: Path, server: Server) -> Path:
    teacher = f"openai:test-model@{server.url}"
    options = Options("self-instruct", out=str(out), teacher=teacher, settings=SETTINGS)
    execute(prepare(options), lambda event: None)
    return out


def _sent(server: Server) -> int:
    return int(server.counts().get("requests", 0))


def test_a_replay_gives_the_same_bytes_and_sends_nothing(tmp_path: Path, server: Server) -> None:
    run = _run(tmp_path / "run", server)
    before, sent = books.data_files(run), _sent(server)
    state = replay(run, lambda event: None)
    assert books.data_files(run) == before
    assert _sent(server) == sent
    assert state.status == "finished"
    books.check(run)


def test_a_replay_needs_nothing_but_the_folder_of_the_run(tmp_path: Path, server: Server) -> None:
    run = _run(tmp_path / "run", server)
    before = books.data_files(run)
    for path in run.glob("stages/*/*/*.parquet"):
        path.unlink()
    moved = run.rename(tmp_path / "moved")
    replay(moved, lambda event: None)
    assert books.data_files(moved) == before


def _changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that drops all but every third item, as a new version of `bootstrap`."""

    def read(reply: Reply, config: Any) -> list[Row | Drop]:
        found = bootstrap.read(reply, config)
        third = found[::3]
        found = [Drop("no_third", row=dict(entry)) for entry in found]
        found[::3] = third
        return found

    stage = dataclasses.replace(bootstrap.STAGE, read=read, version=2)
    changed = (stage, *(one for one in stages.STAGES if one.name != "bootstrap"))
    monkeypatch.setattr("pipeline.recipe.STAGES", changed)


def test_a_changed_parser_reads_the_same_replies_and_the_rest_is_asked_afterwards(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path / "run", server)
    before = open_run(run).kept("bootstrap")
    sent = _sent(server)
    _changed(monkeypatch)
    state = replay(run, lambda event: None)
    assert _sent(server) == sent
    books.check(run)
    replayed = open_run(run)
    assert state.status == "stopped"
    assert replayed.dropped("bootstrap")["drop_reason"].is_in(["no_third"]).any()
    kept = replayed.kept("bootstrap")
    same = kept.join(before, on=["row_id", "instruction"], how="inner")
    assert same.height > 0
    _run(run, server)
    books.check(run)
    finished = open_run(run)
    assert finished.manifest.status == "finished"
    assert finished.kept("bootstrap").height >= 40
    assert finished.kept("bootstrap")[: kept.height].equals(kept)
    assert not finished.dropped("classify")["drop_reason"].is_in(["not_asked"]).any()
    chat = [event["hash"] for event in server.history("request") if event["kind"] == "chat"]
    assert len(chat) == len(set(chat)), "something was asked twice"


def test_a_row_that_no_reply_exists_for_is_dropped_by_name_and_asked_later(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path / "run", server)

    def read(reply: Reply, config: Any) -> list[Row | Drop]:
        found = bootstrap.read(reply, config)
        for entry in found[:1]:
            if not isinstance(entry, Drop):
                entry["instruction"] += " Now."
        return found

    stage = dataclasses.replace(bootstrap.STAGE, read=read, version=2)
    changed = (stage, *(one for one in stages.STAGES if one.name != "bootstrap"))
    monkeypatch.setattr("pipeline.recipe.STAGES", changed)
    sent = _sent(server)
    replay(run, lambda event: None)
    assert _sent(server) == sent
    n = open_run(run).dropped("classify")["drop_reason"].to_list().count("not_asked")
    assert n > 0
    verify(run)
    _run(run, server)
    books.check(run)
    assert open_run(run).dropped("classify").height == 0
    assert n <= _sent(server) - sent


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run"):
        replay(tmp_path, lambda event: None)


def test_a_run_directory_stands_in_place_of_a_recipe_and_goes_on_as_it_was(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, new = _run(tmp_path / "run", server), tmp_path / "new"
    sent = _sent(server)
    make.replay(str(run), out=str(new), settings=["classify.sampling.temperature=0.5"])
    said = capsys.readouterr().err.splitlines()[-1]
    n = open_run(new).dropped("classify")["drop_reason"].to_list().count("not_asked")
    assert said == (
        f"{new} is {run} replayed: stopped, 0 rows, nothing was asked. {n} rows are not_asked: no "
        f"reply is recorded;  synth run {new}  asks for them."
    )
    look.status(str(new))
    assert f"next: start the same command again, or  synth run {new}  to go on" in (
        capsys.readouterr().out
    )
    assert _sent(server) == sent
    monkeypatch.chdir(tmp_path)
    make.run("new")
    books.check(new)
    found = open_run(new)
    assert (found.manifest.status, found.manifest.teacher) == ("finished", "test-model")
    assert found.manifest.identity["classify.sampling.temperature"] == 0.5
    assert found.dropped("classify").height == 0
    assert _sent(server) > sent + n
    finished, sent = books.data_files(new), _sent(server)
    make.run(str(new))
    assert (books.data_files(new), _sent(server)) == (finished, sent)
    make.replay(str(new))
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{new} is replayed: finished, ")
