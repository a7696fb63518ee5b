"""A signal ends the command with 75 and one message, whatever it is at; the same goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.signals import ENDING
from tests.run import books
from tests.security.command import environment, line
from tests.soaked import soaked

DEADLINE_S = 90
ENDING_BITS = sum(1 << (number - 1) for number in ENDING)
WORDS = [a + b for a in ("ba", "ko", "li", "mu", "ne", "ra") for b in ("da", "fel", "gor", "sti")]


def start(*arguments: str, before: tuple[str, ...] = (), code: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, *line(*arguments, before=code)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def once(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    """Wait until something is so; it has to become so while the process lives."""
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def listens(pid: int) -> bool:
    """Whether a process has a handler for each of the signals that end it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(row for row in status.splitlines() if row.startswith("SigCgt"))
    return int(caught.split()[1], 16) & ENDING_BITS == ENDING_BITS


def ends_with_75(process: subprocess.Popen[str], name: str) -> str:
    """Send a signal: exit code 75 and one line that names it."""
    process.send_signal(signal.Signals[name])
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 75, said
    lines = [row for row in said.splitlines() if row.startswith("synth: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"synth: {name} came")
    assert "start the same command again" in lines[0]
    assert "Traceback" not in said
    return said


def rows(path: Path, n: int) -> Path:
    rng = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for number in range(n):
            texts = {key: " ".join(rng.choices(WORDS, k=12)) for key in ("instruction", "output")}
            texts["instruction"] += f" {number}"
            file.write(json.dumps(texts) + "\n")
    return path


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_is_heard_before_anything_heavy_is_imported(tmp_path: Path, name: str) -> None:
    process = start("run", "self-instruct", "--out", str(tmp_path / "run"))
    once(process, lambda: listens(process.pid))
    assert "polars" not in Path(f"/proc/{process.pid}/maps").read_text()
    ends_with_75(process, name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("library", ["pydantic_core", "polars", "arrow"])
def test_a_signal_in_the_midst_of_an_import_ends_the_command(tmp_path: Path, library: str) -> None:
    process = start("run", "self-instruct", "--out", str(tmp_path / "run"))
    once(process, lambda: library in Path(f"/proc/{process.pid}/maps").read_text())
    ends_with_75(process, "SIGTERM")


def test_what_was_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = ("--set", "bootstrap.target=20", "--set", "bootstrap.window=8")
    process = start("run", "self-instruct", "--out", str(out), *few, before=("nohup",))
    once(process, lambda: (out / "run.json").exists())
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Rows, and the run of `curate` over them that nobody ended."""
    folder = tmp_path_factory.mktemp("curated")
    source = rows(folder / "rows.jsonl", 8_000)
    done = start(*curate(source, folder / "run"))
    _, said = done.communicate(timeout=DEADLINE_S)
    assert done.returncode == 0, said
    return source, folder / "run"


def curate(source: Path, out: Path) -> list[str]:
    return ["run", "curate", "--input", str(source), "--out", str(out), "--set", "shard_rows=400"]


@pytest.mark.parametrize("reached", [
    "stages/01-import/kept/part-00003.parquet",
    soaked("stages/02-filter/stage.json"),
    soaked("stages/02-filter/kept/part-00002.parquet"),
    soaked("stages/03-clean/stage.json"),
    "stages/04-dedup/stage.json",
    soaked("data/alpaca"),
])  # fmt: skip
def test_stages_without_a_teacher_end_and_go_on(
    curated: tuple[Path, Path], tmp_path: Path, reached: str
) -> None:
    source, whole = curated
    out = tmp_path / "run"
    process = start(*curate(source, out))
    once(process, (out / reached).exists)
    ends_with_75(process, "SIGTERM")
    assert json.loads((out / "run.json").read_bytes())["status"] == "stopped"
    books.check(out)
    again = start(*curate(source, out))
    _, said = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, said
    assert books.data_files(out) == books.data_files(whole)


HANGS = "import time\n\ndef hangs(instruction):\n    time.sleep(1000)\n"


def test_a_filter_of_ones_own_is_ended_with_the_command(tmp_path: Path) -> None:
    source = rows(tmp_path / "rows.jsonl", 20)
    (tmp_path / "own.py").write_text(HANGS)
    setting = f"filter.filters={{'{tmp_path / 'own.py'}:hangs': {{}}}}"
    out = tmp_path / "run"
    process = start("run", "filter", "--input", str(source), "--out", str(out), "--set", setting)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    once(process, lambda: bool(children.read_text().split()))
    (child,) = children.read_text().split()
    ends_with_75(process, "SIGTERM")
    assert not Path(f"/proc/{child}").exists()
    assert not list((out / ".staging").iterdir())


def test_a_killed_command_takes_the_filter_of_ones_own_with_it(tmp_path: Path) -> None:
    source = rows(tmp_path / "rows.jsonl", 20)
    (tmp_path / "own.py").write_text(HANGS)
    setting = f"filter.filters={{'{tmp_path / 'own.py'}:hangs': {{}}}}"
    out = tmp_path / "run"
    process = start("run", "filter", "--input", str(source), "--out", str(out), "--set", setting)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    once(process, lambda: bool(children.read_text().split()))
    (child,) = children.read_text().split()
    once(process, lambda: b"polars" in Path(f"/proc/{child}/maps").read_bytes())
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.01)


def unshare() -> str | None:
    """Why no process can be number 1 of its own here; null where it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
    )
    return tried.stderr.decode().strip() if tried.returncode else None


NO_UNSHARE = unshare()


@pytest.mark.skipif(NO_UNSHARE is not None, reason=f"no process can be number 1: {NO_UNSHARE}")
@pytest.mark.parametrize("reached", [None, "stages/02-filter/stage.json"])
def test_the_first_process_of_a_container_ends_as_any_other(
    curated: tuple[Path, Path], tmp_path: Path, reached: str | None
) -> None:
    """The kernel gives process 1 no signal that it has no handler for."""
    source, _ = curated
    out = tmp_path / "run"
    process = start(*curate(source, out), before=("unshare", "--pid", "--fork", "--mount-proc"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    once(process, lambda: bool(children.read_text().split()))
    (first,) = children.read_text().split()
    at = out if reached is None else out / reached
    once(process, lambda: listens(int(first)) and (reached is None or at.exists()))
    assert Path(f"/proc/{first}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    os.kill(int(first), signal.SIGTERM)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 75, said
    assert said.count("SIGTERM came") == 1


SILENT_DISK = """
import os, threading
def fsync(handle):
    open({flag!r}, "w").close()
    threading.Event().wait()
os.fsync = fsync
"""


def test_a_disk_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    flag = tmp_path / "stuck"
    given = ["run", "self-instruct", "--out", str(tmp_path / "run")]
    process = start(*given, code=SILENT_DISK.format(flag=str(flag)))
    once(process, flag.exists)
    process.send_signal(signal.SIGINT)
    ends_with_75(process, "SIGINT")


def test_a_second_signal_does_no_harm(curated: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = curated
    out = tmp_path / "run"
    process = start(*curate(source, out))
    once(process, (out / "stages/02-filter/stage.json").exists)
    process.send_signal(signal.SIGTERM)
    ends_with_75(process, "SIGTERM")
