"""What a changed setting means for a run that is there: refused, gone on with, or a new run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from tests.conftest import RunSynth
from tests.run import books, processes
from tests.teacher_server.process import Server, running_server

SETTINGS = ("bootstrap.target=40", "bootstrap.window=8", "shard_rows=50")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One loopback teacher for all tests here: they count what is added."""
    with running_server(tmp_path_factory.mktemp("teacher") / "history.jsonl") as server:
        yield server


@pytest.fixture
def uri(teacher: Server) -> str:
    return f"openai:test-model@{teacher.url}"


@pytest.fixture
def finished(
    uri: str, tmp_path: Path, run_synth: RunSynth, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of a finished run of 40 tasks, made once."""
    original = tmp_path_factory.getbasetemp() / "finished-over-http"
    if not original.exists():
        run_synth(original, *SETTINGS, teacher=uri)
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def asked(teacher: Server) -> int:
    return int(teacher.counts().get("requests_chat", 0))


def test_a_finished_run_is_left_untouched(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server
) -> None:
    before = books.all_files(finished)
    folders = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_dir()}
    requests = teacher.counts()["requests"]
    manifest = run_synth(finished, *SETTINGS, teacher=uri)
    assert manifest.status == "finished"
    assert books.all_files(finished) == before
    assert {path: path.stat().st_mtime_ns for path in folders} == folders
    assert teacher.counts()["requests"] == requests, "not even the list of models is asked for"


def test_a_finished_run_is_recognised_with_no_file_opened_for_writing(
    finished: Path, uri: str, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    line = ["strace", "-f", "-o", str(trace), "-e", "trace=openat,rename,unlink,mkdir,flock"]
    line += processes.command(finished, SETTINGS, uri)
    assert processes.finish(line, PYTHONDONTWRITEBYTECODE="1") == (0, "")
    calls = [
        call for call in trace.read_text(errors="replace").splitlines() if str(finished) in call
    ]
    assert any("run.json" in call for call in calls)
    for call in calls:
        assert "O_WRONLY" not in call, call
        assert "O_RDWR" not in call, call
        assert not any(f"/{name}" in call for name in ("lock", "journal", ".staging")), call


def test_a_raised_target_goes_on_and_asks_only_what_is_new(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server
) -> None:
    stages = ("bootstrap", "classify", "instances")
    before = {stage: books.rows(finished, stage) for stage in stages}
    shards = {path: sha for path, sha in books.data_files(finished).items() if "01-" in path}
    settled = set(books.replied(finished))
    requests = asked(teacher)
    manifest = run_synth(finished, "bootstrap.target=80", *SETTINGS[1:], teacher=uri)
    assert manifest.status == "finished"
    for stage in stages:
        after = books.rows(finished, stage)
        assert after[: len(before[stage])] == before[stage]
        assert len(after) > len(before[stage])
    assert shards.items() <= books.data_files(finished).items()
    sent = [event["hash"][:24] for event in teacher.history("request") if event["kind"] == "chat"]
    assert not settled & set(sent[requests:])
    new_tasks = len(books.rows(finished, "bootstrap")) - len(before["bootstrap"])
    assert 2 * new_tasks <= asked(teacher) - requests < 2 * new_tasks + 30


def test_a_raised_target_gives_the_rows_that_it_would_have_given_at_once(
    run_synth: RunSynth, finished: Path, uri: str, tmp_path: Path
) -> None:
    raised = ("bootstrap.target=80", *SETTINGS[1:])
    run_synth(finished, *raised, teacher=uri)
    run_synth(tmp_path / "at_once", *raised, teacher=uri)
    for stage in ("bootstrap", "classify", "instances", "filter", "dedup"):
        for half in ("kept", "dropped"):
            ours = books.rows(finished, stage, half)
            assert ours == books.rows(tmp_path / "at_once", stage, half), (stage, half)


def test_a_lowered_target_is_refused(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server
) -> None:
    before, requests = books.all_files(finished), teacher.counts()["requests"]
    with pytest.raises(RecipeError, match=r"bootstrap\.target was 40 and is 39"):
        run_synth(finished, "bootstrap.target=39", *SETTINGS[1:], teacher=uri)
    assert books.all_files(finished) == before
    assert teacher.counts()["requests"] == requests


def test_how_fast_and_where_is_asked_may_change_on_a_run_that_goes_on(
    run_synth: RunSynth, finished: Path, tmp_path: Path
) -> None:
    settled = set(books.replied(finished))
    with running_server(tmp_path / "other.jsonl") as other:
        changed = ("teacher.concurrency=3", "teacher.timeout_s=60", "bootstrap.stall_after=900")
        changed += ("prices={test-model: {input: 1, output: 2}}",)
        moved = f"openai:test-model@{other.url}"
        run_synth(finished, "bootstrap.target=50", *SETTINGS[1:], *changed, teacher=moved)
        sent = {event["hash"][:24] for event in other.history("request") if event["kind"] == "chat"}
        assert sent
        assert not sent & settled
        assert other.counts()["peak_in_flight"] <= 3


def test_another_model_is_refused(run_synth: RunSynth, finished: Path, teacher: Server) -> None:
    with pytest.raises(RecipeError, match=r'teacher\.model was "test-model" and is "other"'):
        run_synth(finished, *SETTINGS, teacher=f"openai:other@{teacher.url}")


@pytest.mark.parametrize(
    "decision",
    ["filter.filters.word_count.at_most=15", "dedup.ignore_case=true", "export.validation=0.5"],
)
def test_another_decision_is_refused_in_place_and_is_a_new_run_without_requests(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server, tmp_path: Path, decision: str
) -> None:
    before, requests = books.all_files(finished), asked(teacher)
    name = decision.partition("=")[0]
    with pytest.raises(RecipeError) as caught:
        run_synth(finished, *SETTINGS, decision, teacher=uri)
    assert ".".join(name.split(".")[:2]) in str(caught.value)
    assert "(decision)" in str(caught.value)
    new = tmp_path / "new"
    manifest = run_synth(new, decision, teacher=uri, made_from=str(finished))
    assert manifest.status == "finished"
    assert asked(teacher) == requests
    for stage in ("bootstrap", "classify", "instances"):
        assert books.rows(new, stage) == books.rows(finished, stage)
    if "word_count" in name:
        assert books.stage_json(new, "filter")["dropped_by_reason"]["too_many_words"] > 0
    assert {p: sha for p, (_, sha) in books.all_files(finished).items()} == {
        p: sha for p, (_, sha) in before.items()
    }, "the old run is read, not changed"


def test_a_new_run_from_an_old_one_asks_only_what_its_changed_stage_needs(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server, tmp_path: Path
) -> None:
    requests = asked(teacher)
    settings = ("instances.instances=2",)
    run_synth(tmp_path / "new", *settings, teacher=uri, made_from=str(finished))
    tasks = len(books.rows(finished, "bootstrap"))
    assert asked(teacher) - requests == tasks
    assert (
        books.data_files(tmp_path / "new").items()
        >= {
            path: sha
            for path, sha in books.data_files(finished).items()
            if "/01-" in path or "/02-" in path
        }.items()
    )


def test_a_new_run_that_was_killed_goes_on(
    run_synth: RunSynth, finished: Path, uri: str, teacher: Server, tmp_path: Path
) -> None:
    requests, new = asked(teacher), tmp_path / "new"
    line = [*processes.command(new, ["dedup.ignore_case=true"], uri), "--from", str(finished)]
    for stage in ("01-bootstrap", "03-instances"):
        process = processes.start(line)
        processes.wait_until((new / "stages" / stage).exists, process)
        processes.kill(process)
    assert processes.finish(line) == (0, "")
    books.check(new)
    assert asked(teacher) == requests
    assert books.rows(new, "dedup") == books.rows(finished, "dedup")


def test_a_run_stopped_after_a_stage_goes_on_to_the_end(
    run_synth: RunSynth, small_run: Path, tmp_path: Path
) -> None:
    out, settings = tmp_path / "run", ("bootstrap.target=60", "shard_rows=50")
    assert run_synth(out, *settings, until="classify").status == "stopped"
    assert [path.name for path in sorted((out / "stages").iterdir())] == [
        "01-bootstrap",
        "02-classify",
    ]
    assert run_synth(out, *settings).status == "finished"
    assert books.data_files(out) == books.data_files(small_run)


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        ("dedup", "dedup.threshold=0.5"),
        ("filter", "filter.filters={word_count: {at_least: 9}}"),
    ],
)
def test_a_run_of_one_stage_is_made_again_under_other_settings(
    run_synth: RunSynth, tmp_path: Path, stage: str, setting: str
) -> None:
    words = "the long old river runs through six very wide and green valleys"
    lines = [{"instruction": f"Name {words[n % 3 : 20 + 4 * n]}", "output": f"River {n}."}
             for n in range(14)]  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run_synth(tmp_path / "old", recipe=stage, input=str(rows))
    run_synth(tmp_path / "fresh", setting, recipe=stage, input=str(rows))
    rows.unlink()
    run_synth(tmp_path / "new", setting, recipe=stage, made_from=str(tmp_path / "old"))
    new, fresh, old = (books.rows(tmp_path / name, stage) for name in ("new", "fresh", "old"))
    assert new == fresh
    assert len(new) < len(old)


def test_another_input_is_named_beside_the_one_that_was_taken_in(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    for path in (old, new):
        row = {"instruction": f"Name a river of {path.stem}.", "output": "The Po."}
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    run_synth(tmp_path / "run", recipe="dedup", input=str(old))
    with pytest.raises(RecipeError) as caught:
        run_synth(tmp_path / "run", recipe="dedup", input=str(new))
    assert f"- input was {old} and is {new}, and what is taken in of" in str(caught.value)
    old.write_bytes(new.read_bytes())
    with pytest.raises(RecipeError, match=r"- input is .*old\.jsonl as before, and what is taken"):
        run_synth(tmp_path / "run", recipe="dedup", input=str(old))
