"""How the process ends: the code that a scheduler sees, and what was printed before."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli import here


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


def test_a_bug_that_cannot_be_told_for_want_of_memory_is_that_want() -> None:
    """What raised it had met the want, too, but libraries do not always say so."""
    spoilt = "import pipeline.recipe as r; r.builtin_names = None\nimport traceback as t\n"
    done = synth(
        "recipes", before=f"{spoilt}def none(e): raise MemoryError\nt.format_exception = none"
    )
    assert done.returncode == 7
    assert done.stderr.startswith("synth: this process may have no more memory.")
    assert done.stderr.count("\n") == 1


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


TOO_SHORT = "filter.filters={word_count: {at_least: 50}}"


def test_a_run_that_drops_every_row_ends_with_4_each_time_and_says_so_last(tmp_path: Path) -> None:
    given, out = tmp_path / "rows.jsonl", tmp_path / "run"
    rows = [{"instruction": f"Name {n} rivers.", "output": "Rhine."} for n in range(12)]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ("run", "curate", "--input", str(given), "--out", str(out), "--set", TOO_SHORT)
    line = (*line, "--until", "decontaminate")
    said = f"No row is left in {out}: filter dropped all of 12 (too_few_words 12). "
    for _ in range(2):
        done = here.synth(*line)
        assert done.code == 4, done.err
        assert done.err.splitlines()[-1].startswith(said)
    assert here.synth("verify", str(out)).code == 0, "what was made is valid"
    end = json.loads(here.synth(*line, "--json").out.splitlines()[-1])
    assert (end["event"], end["kept"]) == ("end", 0)
    assert end["text"].startswith(said)
    log = [json.loads(text) for text in (out / "log.jsonl").read_text().splitlines()]
    ends = [one["text"][:12] for one in log if "ended" in one.get("text", "")]
    assert ends == ["ended with 4"] * 3


def test_a_finished_run_without_a_row_says_where_they_went(tmp_path: Path) -> None:
    given, out = tmp_path / "rows.jsonl", tmp_path / "run"
    given.write_text('{"instruction": "Name a river.", "output": "Rhine."}\n' * 3)
    line = ("run", "filter", "--input", str(given), "--out", str(out), "--set", TOO_SHORT)
    assert here.synth(*line).code == 4
    assert f"filter kept no row: synth show {out} filter" in here.synth("status", str(out)).out
    replayed = here.synth("replay", str(out))
    assert replayed.code == 4
    assert "No row is left" in replayed.err.splitlines()[-1]


def test_a_run_whose_log_is_on_a_full_disk_ends_with_7_though_it_can_say_nothing(
    tmp_path: Path,
) -> None:
    line = [sys.executable, "-m", "pipeline.cli", "run", "self-instruct", "--limit", "5"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*line, "--out", str(tmp_path / "run")], stdout=full, stderr=full, check=False
        )
    assert done.returncode == 7
