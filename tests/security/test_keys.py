"""Row 54: a key is in nothing that is written or said, whatever fails."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline import redact
from pipeline.cli.commands import app
from tests.cli import here
from tests.run import books, processes
from tests.security.command import codings, environment, holding, line, synth
from tests.teacher_server.process import Server, auth_hash

KEY = "sk-canary/9f8e7d6c+5b4a39281706=z"
NAMED = "teacher.key=env:TEACHERS_WORD"  # a name that does not say what it holds
SMALL = ("--set", "bootstrap.target=20", "--set", "bootstrap.window=8")
FILTER = """
import os, polars as pl
def fails(instruction: pl.Series) -> pl.DataFrame:
    if "{word}" in "".join(instruction):
        raise RuntimeError("cannot log in with " + os.environ["TEACHERS_WORD"])
    none = [None] * len(instruction)
    schema = {{"reason": pl.String, "detail": pl.String}}
    return pl.DataFrame({{"reason": none, "detail": none}}, schema=schema)
"""


def teacher(server: Server) -> tuple[str, ...]:
    return ("--teacher", f"openai:test-model@{server.url}")


def test_the_search_finds_each_coding(tmp_path: Path) -> None:
    for coding in codings(KEY):
        (tmp_path / "file").write_bytes(b"before " + coding + b" after")
        assert holding(KEY, tmp_path)
    (tmp_path / "file").write_bytes(b"sk-canary and nothing else")
    assert not holding(KEY, tmp_path)


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "TEACHERS_WORD"])
def test_no_command_tells_the_key_though_the_server_repeats_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    run = tmp_path / "run"
    named = ("--set", NAMED) if variable == "TEACHERS_WORD" else ()
    server.set_plan({"content": {"items": 3}, "rules": [{"fault": "echo_key"}]})
    given = ("self-instruct", "--out", str(run), *teacher(server), *SMALL, *named)
    commands = [
        ("run", *given, "--json"),
        ("status", str(run), "--json"),
        ("show", str(run), "bootstrap", "--full"),
        ("show", str(run), "bootstrap", "--dropped", "--json"),
        ("why", str(run), "bootstrap-000000-00"),
        ("verify", str(run)),
        ("export", str(run), "--format", "jsonl"),
        ("doctor", *teacher(server)),
        ("plan", *given),
        ("replay", str(run)),
        ("recipes",),
        ("stages",),
        ("--help",),
    ]
    others = {str(command.name) for command in app.registered_commands} - {c[0] for c in commands}
    commands += [(name, str(run)) for name in sorted(others)]  # come what may
    if variable == "TEACHERS_WORD":
        commands = commands[:1]
    monkeypatch.setenv(variable, KEY)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        monkeypatch.setattr(redact, "_read", set())  # as a process that has just begun
        done = here.synth(*command)
        assert done.code == 0 or command[0] in others, (command, done.err)
        assert holding(KEY, done.out.encode(), done.err.encode()) == [], command
    assert holding(KEY, tmp_path / "run") == []
    assert server.faults("echo_key") > 20
    assert auth_hash(KEY) in {event["auth"] for event in server.history("request")}
    assert "[key removed]" in str(books.rows(run, "bootstrap"))


@pytest.mark.parametrize("kind", ["models", "chat"])
def test_a_refusal_that_repeats_the_key_is_told_without_it(
    server: Server, tmp_path: Path, kind: str
) -> None:
    server.set_plan([{"fault": "echo_key_error", "match": {"kind": kind}}])
    run = tmp_path / "run"
    done = synth("run", "self-instruct", "--out", str(run), *teacher(server), *SMALL, "--json",
                 variables={"OPENAI_API_KEY": KEY})  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert b"[key removed]" in done.stderr
    assert server.faults("echo_key_error") > 0
    assert holding(KEY, done.stdout, done.stderr, tmp_path / "run") == []
    assert b"[key removed]" in (run / "log.jsonl").read_bytes()


@pytest.mark.parametrize("address", [
    "openai:m@http://user:{key}@127.0.0.1:9/v1",
    "openai:m@https://{key}@127.0.0.1/v1",
    "openai:m@ftp://user:{key}@127.0.0.1/v1",
    "openai:m@user:{key}@127.0.0.1",
    "openai:m@http://127.0.0.1:9/v1,http://user:{key}@127.0.0.1:0/v1",
    "vllm:m@http://user:{key}@h",
    "opnai:m@http://user:{key}@h",
])  # fmt: skip
def test_a_key_in_an_address_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    key = "canary9f8e7d6c5b4a39281706"
    done = synth("run", "self-instruct", "--out", str(tmp_path / "run"),
                 "--teacher", address.format(key=key))  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert holding(key, done.stdout, done.stderr, tmp_path) == []


def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    key = "canary9f8e7d6c5b4a39281706"
    address = f"http://user:{key}@127.0.0.1:9/v1"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"name: mine\nteacher: {{key: {key}}}\nstages:\n  - stage: bootstrap\n")
    for command, variables in (
        (("run", str(recipe)), {}),
        (("run", "self-instruct", "--set", f"teacher.key={key}"), {}),
        (("run", "self-instruct", "--teacher", "openai:m"), {"OPENAI_BASE_URL": address}),
        (("doctor", "--teacher", f"openai:m@{address}"), {}),
        (("doctor", "--teacher", "openai:m"), {"OPENAI_BASE_URL": address}),
        (("run", "self-instruct", "--teacher", key), {"MY_API_KEY": key}),
    ):
        out = () if command[0] == "doctor" else ("--out", str(tmp_path / "run"))
        done = synth(*command, *out, variables=variables)
        assert done.returncode in (1, 2), (command, done.stderr)
        assert holding(key, done.stdout, done.stderr) == [], command
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["", "e"])
def test_a_users_filter_that_fails_with_the_key_does_not_tell_it(
    server: Server, tmp_path: Path, word: str
) -> None:
    """`word` empty: it fails at import, which ends the command; else on rows."""
    mine = tmp_path / "code" / "mine.py"
    mine.parent.mkdir()
    failing = 'import os\nraise RuntimeError(os.environ["TEACHERS_WORD"])\n'
    mine.write_text(FILTER.format(word=word) if word else failing)
    recipe = tmp_path / "code" / "mine.yaml"
    recipe.write_text(
        f"name: mine\nteacher: {{key: env:TEACHERS_WORD}}\nstages:\n  - stage: bootstrap\n"
        f"    target: 8\n  - stage: filter\n    filters: {{'{mine}:fails': {{}}}}\n"
    )
    server.set_plan({"content": {"items": 3}})
    run = tmp_path / "run"
    done = synth("run", str(recipe), "--out", str(run), *teacher(server),
                 variables={"TEACHERS_WORD": KEY} | ({} if word else {"A_KEY": KEY}))  # fmt: skip
    assert done.returncode == (4 if word else 2), done.stderr  # 4: no row is left
    if word:
        details = {row["drop_detail"] for row in books.rows(run, "filter", "dropped")}
        assert any("cannot log in with [key removed]" in detail for detail in details), details
    else:
        assert b"[key removed]" in done.stderr
    assert holding(KEY, done.stdout, done.stderr, tmp_path) == []


def test_a_traceback_of_ours_does_not_tell_the_key(server: Server, tmp_path: Path) -> None:
    bug = (
        "import pipeline.run.askers as e\n"
        "def make(context, model): raise ValueError(f'Authorization: Bearer {model.key}')\n"
        "e.make_teacher = make"
    )
    done = synth("run", "self-instruct", "--out", str(tmp_path / "run"), *teacher(server),
                 "--set", NAMED, before=bug, variables={"TEACHERS_WORD": KEY})  # fmt: skip
    assert done.returncode == 70
    assert b"Traceback" in done.stderr
    assert b"Bearer [key removed]" in done.stderr
    assert holding(KEY, done.stdout, done.stderr, tmp_path / "run") == []


def test_a_run_that_is_told_to_end_leaves_no_key_and_shows_none_to_ps(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"items": 3}, "latency": 0.2, "rules": [{"fault": "echo_key"}]})
    run = tmp_path / "run"
    command = line("run", "self-instruct", "--out", str(run), *teacher(server), "--json",
                   "--set", "teacher.grace_s=2")  # fmt: skip
    with subprocess.Popen(
        command,
        env=environment(OPENAI_API_KEY=KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        processes.wait_until(lambda: server.counts().get("replies", 0) > 8)
        time.sleep(0.1)
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        while_working = holding(KEY, run)  # the write-ahead file is still there
        assert (run / "journal.sqlite-wal").stat().st_size > 0
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=30)
    assert process.returncode == 75, errors
    assert b"SIGTERM" in errors
    assert server.faults("echo_key") > 0
    assert while_working == []
    assert b"self-instruct" in shown
    assert holding(KEY, said, errors, run, shown) == []


LET_DUMP = (
    "import resource\n"
    "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))"
)


def has_dumped(
    command: list[str], folder: Path, server: Server, variables: Mapping[str, str]
) -> bool:
    """Whether a core was written as a process that had asked for replies crashed in `folder`."""
    before = server.counts().get("replies", 0)
    with subprocess.Popen(
        command, cwd=folder, env=environment(**variables), stdout=subprocess.DEVNULL
    ) as process:
        processes.wait_until(lambda: server.counts().get("replies", 0) > before)
        process.send_signal(signal.SIGSEGV)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -os.WTERMSIG(status)
    assert process.returncode == -signal.SIGSEGV
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_core_for_the_key_to_stand_in(server: Server, tmp_path: Path) -> None:
    """A process with the same key that lets itself be dumped is dumped, key and all."""
    ask = (
        f"import urllib.request as u; u.urlopen('{server.url}/models'); import time; time.sleep(60)"
    )
    other = tmp_path / "other"
    other.mkdir()
    variables = {"OPENAI_API_KEY": KEY}
    if not has_dumped([sys.executable, "-c", f"{LET_DUMP}\n{ask}"], other, server, variables):
        pytest.skip("this machine writes no cores: a hard limit of 0, or no right to")
    server.set_plan({"content": {"items": 3}, "latency": 0.2})
    given = ("run", "self-instruct", "--out", str(tmp_path / "run"), *teacher(server), *SMALL)
    mine = tmp_path / "mine"
    mine.mkdir()
    assert not has_dumped(line(*given, before=LET_DUMP), mine, server, variables)
    assert list(mine.iterdir()) == []
    assert holding(KEY, tmp_path / "run") == []
    if cores := list(other.iterdir()):
        assert holding(KEY, other) != []
        for core in cores:
            core.unlink()
