"""Row 53: what a model wrote is stored as it came; nothing runs it, fills it in or opens it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import books
from tests.security.command import environment, line, synth
from tests.security.payloads import PAYLOADS
from tests.teacher_server.process import Server, running_server

WATCH = "import tests.security.watch"
MARK = "synth-payload"


def text_of(number: int, payload: str, canary: Path) -> str:
    return f"Say what this {MARK} {number} does: {payload.replace('{canary}', str(canary))}"


def watched(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    log = tmp_path / "watch.log"
    inside = [tmp_path / "run", tmp_path / "other", log]
    return log, {"WATCH_LOG": str(log), "WATCH_INSIDE": ":".join(map(str, inside))}


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    log, variables = watched(tmp_path)
    deeds = (
        f"{WATCH}\nimport os, socket, subprocess, pickle\n"
        f"open({str(tmp_path / 'x')!r}, 'w')\nexec('1  # {MARK}')\nos.system('true')\n"
        "subprocess.run(['true'])\npickle.loads(pickle.dumps(os.getcwd))\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.settimeout(0.01)\n"
        "try: s.connect(('192.0.2.1', 9))\nexcept OSError: pass\nraise SystemExit"
    )
    synth("stages", before=deeds, variables=variables)
    seen = {told.split()[0].strip("'") for told in log.read_text().splitlines()}
    assert seen >= {"watching", "open", "compile", "os.system", "subprocess.Popen",
                    "pickle.find_class", "socket.bind", "socket.connect"}  # fmt: skip


def test_hostile_rows_are_stored_byte_for_byte_and_nothing_runs_them(
    server: Server, tmp_path: Path
) -> None:
    """More than 200 payloads come in as data, are asked about, filtered, shown and exported."""
    assert len(PAYLOADS) >= 200
    canary = tmp_path / "canary"
    texts = [text_of(n, payload, canary) for n, payload in enumerate(PAYLOADS)]
    rows = [{"instruction": text, "input": text, "output": text + "."} for text in texts]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nstages:\n  - stage: import\n  - stage: classify\n  - stage: filter\n"
        "    filters: {word_count: {at_most: 500}}\n  - stage: export\n"
    )
    log, variables = watched(tmp_path)
    run = tmp_path / "run"
    for command in (
        ("run", str(recipe), "--input", str(data), "--out", str(run),
         "--teacher", f"openai:test-model@{server.url}"),
        ("show", str(run), "classify", "--limit", "300"),
        ("export", str(run), "--format", "csv"),
    ):  # fmt: skip
        done = synth(*command, before=WATCH, variables=variables)
        assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["'watching'"] * 3
    assert not canary.exists()
    assert [row["instruction"] for row in books.rows(run, "import")] == texts
    kept = books.rows(run, "filter")
    assert len(kept) > 200
    by_text = {row["instruction"]: row for row in rows}
    for row in kept:
        assert {name: row[name] for name in ("instruction", "input", "output")} == by_text[
            row["instruction"]
        ]


def test_hostile_replies_are_stored_and_shown_to_the_teacher_as_they_came(
    tmp_path: Path,
) -> None:
    """A few payloads as items of a reply (it ends at 16); what is kept becomes a demonstration."""
    canary = tmp_path / "canary"
    texts = [
        " ".join(text_of(n, payload, canary).split()) for n, payload in enumerate(PAYLOADS)
    ]  # a draft is one line
    wanted = texts[::40]
    reply = f" {wanted[0]}" + "".join(
        f"\n{number}. {text}" for number, text in enumerate(wanted[1:], start=10)
    )
    log, variables = watched(tmp_path)
    run = tmp_path / "run"
    settings = ("bootstrap.target=100", "bootstrap.window=1")
    with running_server(
        tmp_path / "history.jsonl", {"content": {"mode": "fixed", "text": reply}}, keep_bodies=True
    ) as server:
        done = synth("run", "self-instruct", "--out", str(run), "--until", "classify",
                     "--teacher", f"openai:test-model@{server.url}",
                     *(f"--set={one}" for one in settings),
                     before=WATCH, variables=variables)  # fmt: skip
        assert done.returncode in (0, 4), done.stderr
        bodies = [json.dumps(event) for event in server.history("request")]
    assert log.read_text().splitlines() == ["'watching'"]
    assert not canary.exists()
    found = books.rows(run, "bootstrap") + books.rows(run, "bootstrap", "dropped")
    stored = {row["instruction"] for row in found if row["instruction"]}
    lost = set(wanted) - stored
    assert not lost
    assert len(stored) >= 5
    assert any(MARK in body for body in bodies), "none came back in a request"


def test_a_network_without_a_way_out_is_enough(tmp_path: Path) -> None:
    """S9: in a network namespace that has loopback alone; no attempt elsewhere, nothing listens."""
    tried = subprocess.run(
        ["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    ) if shutil.which("unshare") and shutil.which("ip") else None  # fmt: skip
    if tried is None or tried.returncode:
        pytest.skip("no network namespace can be made here (unshare -rn, ip)")
    log, variables = watched(tmp_path)
    run = tmp_path / "run"
    server = [sys.executable, "-m", "tests.teacher_server", "--history", str(tmp_path / "h.jsonl"),
              "--plan", "{}", "--port", "18765", "--max-seconds", "30"]  # fmt: skip
    given = line("run", "self-instruct", "--out", str(run), "--set", "bootstrap.target=20",
                 "--teacher", "openai:test-model@http://127.0.0.1:18765/v1",
                 "--until", "classify", before=WATCH)  # fmt: skip
    script = (
        "ip link set lo up; exec 9< <(exec sleep 30 2> /dev/null); hold=$!\n"
        'n=$1; shift; "${@:1:$n}" <&9 > /dev/null & server=$!; shift $n\n'
        "for i in $(seq 100); do (: < /dev/tcp/127.0.0.1/18765) 2> /dev/null && break\n"
        'sleep 0.1; done; "$@"; code=$?; kill $server $hold; exit $code'
    )
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", script, "bash", str(len(server)), *server, *given],
        env=environment(**variables), capture_output=True, check=False, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["'watching'"]
    assert len(books.rows(run, "classify")) >= 20
