"""How the process ends: the code that a scheduler sees, and what was printed before."""

import subprocess
import sys
from pathlib import Path


def synth(*arguments: str, before: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    code = f"from pipeline.cli import main\n{before}\nmain()"
    line = [sys.executable, "-c", code, *arguments]
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False, **options)  # type: ignore[call-overload]


def test_what_is_wrong_is_one_message_and_its_code(tmp_path: Path) -> None:
    done = synth("status", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("synth: ")
    assert done.stderr.count("\n") == 1


def test_a_bug_ends_with_70_and_says_where_it_is() -> None:
    done = synth("recipes", before="import pipeline.recipe as r; r.builtin_names = None")
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "report it" in done.stderr


def test_output_that_cannot_be_written_is_not_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = synth("recipes", stdout=full)
    assert done.returncode == 7
    assert "No space left" in done.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    line = [sys.executable, "-m", "pipeline.cli", "stages"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_all_that_was_printed_arrives() -> None:
    assert synth("stages").stdout.endswith("\n")
    assert synth("--help").returncode == 0
    assert synth("no-such-command").returncode == 2
