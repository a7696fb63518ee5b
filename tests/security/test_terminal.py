"""Row 53, the terminal: nothing that a model, a server or a file says steers it (S8)."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli import here
from tests.conftest import RunSynth
from tests.run import books
from tests.security.command import environment, line, synth
from tests.teacher_server.process import Server

EVIL = (
    "\x1b[31mred\x1b]0;title\x07 \x1b]8;;http://x\x07link\x1b]8;;\x07 \x1b]52;c;cm0=\x07 \x1b[2J"
    "\x9b31m\x9d52;c;x\x9c \u202edesrever\u2066x\u2069 zero\u200bwidth\ufeff \u061c\u2028synth"
    ": forged [bold red]rich[/] [link=x]y[/link] \x7f\x08\x0d \x85 \U000e0041"
)
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u061c\U000e0000-\U000e007f]"
)
OURS = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*[mAK]|1A|2K)|\r\n|\r")
"""What rich writes to draw: colours, lines up, lines cleared, the cursor."""


def steers(said: bytes) -> list[str]:
    return STEERING.findall(said.decode())


def test_the_search_finds_what_steers() -> None:
    assert len(set(steers(EVIL.encode()))) >= 14
    assert not steers("Ein Satz, 中文, एक\n\tand a tab".encode())


@pytest.fixture
def run(run_synth: RunSynth, tmp_path: Path) -> Path:
    """A run whose rows hold the worst, in every column of text."""
    data = tmp_path / "rows.jsonl"
    row = {"instruction": f"Say this: {EVIL}", "input": EVIL, "output": f"It is {EVIL} so."}
    data.write_text(json.dumps(row) + "\n" + json.dumps(row | {"instruction": EVIL * 90}) + "\n")
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import polars as pl\n"
        "def judge(instruction: pl.Series) -> pl.DataFrame:\n"
        "    long = instruction.str.len_chars() > 1000\n"
        f"    evil = {EVIL!r}\n"
        "    return pl.DataFrame({'reason': [evil if one else None for one in long],\n"
        "                         'detail': [evil if one else None for one in long]},\n"
        "                        schema={'reason': pl.String, 'detail': pl.String})\n"
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nstages:\n  - stage: import\n"
        f"  - stage: filter\n    filters: {{'{mine}:judge': {{}}}}\n"
    )
    run_synth(tmp_path / "run", recipe=str(recipe), input=str(data))
    assert books.rows(tmp_path / "run", "filter", "dropped")[0]["drop_reason"] == EVIL
    return tmp_path / "run"


def test_rows_reasons_and_names_are_shown_with_nothing_that_steers(run: Path) -> None:
    (row_id,) = {row["row_id"] for row in books.rows(run, "filter")}
    (dropped_id,) = {row["row_id"] for row in books.rows(run, "filter", "dropped")}
    seen = b""
    for command in (
        ("show", str(run), "--full"), ("show", str(run)), ("show", str(run), "--json"),
        ("show", str(run), "filter", "--dropped"), ("why", str(run), row_id),
        ("why", str(run), dropped_id), ("status", str(run)), ("status", str(run), "--json"),
        ("why", str(run), EVIL.replace("\0", "")), ("verify", str(run)),
    ):  # fmt: skip
        done = here.synth(*command)
        assert done.code in (0, 2), (command, done.err)
        said = (done.out + done.err).encode()
        assert steers(said) == [], command
        seen += said
    assert b"\\x1b[31mred" in seen
    assert b"[bold red]rich[/]" in seen


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_run_at_work_prints_nothing_that_steers(
    run: Path, tmp_path: Path, how: tuple[str]
) -> None:
    """The name of its folder, its reasons, and how it is shown at a terminal or to a machine."""
    out = tmp_path / f"run{EVIL}".replace("/", "")
    given = ("run", str(tmp_path / "mine.yaml"), "--input", str(tmp_path / "rows.jsonl"),
             "--out", str(out), *how)  # fmt: skip
    first = synth(*given)
    assert first.returncode == 0, first.stderr
    assert b"red" in first.stdout + first.stderr
    assert steers(first.stdout + first.stderr) == []
    assert steers((out / "log.jsonl").read_bytes()) == []
    again = synth(*given[:-1] if how else given)
    assert steers(again.stdout + again.stderr) == []


def at_a_terminal(command: list[str]) -> bytes:
    """All that a command writes to a terminal of its own."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=environment(TERM="xterm-256color")
    ) as process:
        os.close(its)
        said = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            said += chunk
        assert process.wait(30) == 0, said
    os.close(ours)
    return said


def test_the_live_table_holds_no_escape_of_the_datas(run: Path, tmp_path: Path) -> None:
    given = line("run", str(tmp_path / "mine.yaml"), "--input", str(tmp_path / "rows.jsonl"),
                 "--out", str(tmp_path / f"live{EVIL}".replace("/", "")))  # fmt: skip
    said = at_a_terminal(["sh", "-c", 'stty cols 200; exec "$@"', "sh", *given])
    assert b"\x1b[" in said, "it was no terminal"
    assert b"red" in said
    assert steers(OURS.sub("", said.decode()).encode()) == []
    shown = at_a_terminal(line("show", str(run), "--full"))
    assert steers(OURS.sub("", shown.decode()).encode()) == []


@pytest.mark.parametrize("kind", ["models", "chat"])
def test_a_servers_error_forges_no_line(server: Server, tmp_path: Path, kind: str) -> None:
    message = f'{EVIL}\nsynth: 63 rows in data (made in 1 s)\r\n{{"event": "end"}}'
    server.set_plan([{"fault": "unauthorized", "message": message, "match": {"kind": kind}}])
    run = tmp_path / "run"
    done = synth("run", "self-instruct", "--out", str(run), "--set", "bootstrap.target=8",
                 "--teacher", f"openai:test-model@{server.url}")  # fmt: skip
    assert done.returncode == 5
    assert server.faults("unauthorized") > 0
    assert steers(done.stderr) == []
    assert not [told for told in done.stderr.decode().splitlines() if told.startswith("synth: 63")]
    log = (run / "log.jsonl").read_bytes()
    assert steers(log) == []
    assert all(isinstance(json.loads(told), dict) for told in log.decode().splitlines())
    assert b"63 rows" in log


def test_the_columns_of_a_file_forge_no_line(tmp_path: Path) -> None:
    benchmarks = tmp_path / "prompts.jsonl"
    benchmarks.write_text(json.dumps({"a\nsynth: all is well\r\n": "x"}) + "\n")
    done = synth("plan", "curate", "--input", str(benchmarks), "--set",
                 f"decontaminate.benchmarks={benchmarks}")  # fmt: skip
    assert done.returncode == 2
    assert b"\n- recipe curate: line " in done.stderr
    assert b"\nsynth: all is well" not in done.stderr
