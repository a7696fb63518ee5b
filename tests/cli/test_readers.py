"""Every command that reads a run: damaged runs, odd names, places not to be written to."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.errors import DamagedError, InterruptedRunError
from tests.cli.here import synth
from tests.run import books

READERS = ("show", "why", "report", "diff", "review", "export", "verify", "push")
ODD = "a [b]*? {c} 'd'"


def line_of(command: str, run: Path, other: Path, out: Path) -> list[str]:
    """A command line that reads all of a run."""
    return {
        "show": ["show", str(run)],
        "why": ["why", str(run), "bootstrap-000001-00"],
        "report": ["report", str(run), "--out", str(out / "page.html")],
        "diff": ["diff", str(run), str(other)],
        "review": ["review", str(run), "--out", str(out / "sheets")],
        "export": ["export", str(run), "--format", "csv", "--out", str(out / "all.csv")],
        "verify": ["verify", str(run)],
        "push": ["push", str(run), "a/b", "--dry-run"],
    }[command]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink], ids=["cut", "flipped", "gone"])
@pytest.mark.parametrize("command", READERS)
def test_a_damaged_shard_is_one_message_and_code_6(
    small_run: Path, small_copy: Path, tmp_path: Path, command: str, damage: Callable[[Path], None]
) -> None:
    shard = small_copy / "stages/05-dedup/kept/part-00000.parquet"
    damage(shard)
    done = synth(*line_of(command, small_copy, small_run, tmp_path))
    assert (done.code, done.out) == (6, ""), done
    assert shard.name in done.err
    assert "Traceback" not in done.err
    assert f"synth verify {small_copy}" in done.err or command in ("verify", "export", "push")
    assert not list(tmp_path.glob("page.html*"))
    assert not (tmp_path / "sheets").exists()


def test_the_other_run_of_two_may_be_the_damaged_one(small_run: Path, small_copy: Path) -> None:
    cut(small_copy / "stages/04-filter/dropped/part-00000.parquet")
    flip(small_copy / "stages/05-dedup/kept/part-00000.parquet")
    assert synth("diff", small_run, small_copy).code == 6
    assert synth("report", small_run, small_copy).code == 6
    with pytest.raises(DamagedError, match="synth verify"):
        open_run(small_copy).plot.funnel()


@pytest.mark.parametrize(
    "damage", [b'{"step": 1}\n{"st\n', b"\xff\xfe\n", b"3\n", b'{"loss": 1}\n']
)
def test_a_damaged_curve_is_damage(small_copy: Path, damage: bytes, tmp_path: Path) -> None:
    (small_copy / "model").mkdir()
    (small_copy / "model/metrics.jsonl").write_bytes(damage)
    done = synth("report", small_copy, "--out", tmp_path / "page.html")
    assert done.code == 6
    assert "model/metrics.jsonl is damaged: line" in done.err


def test_a_shard_that_was_written_anew_since_is_no_damage(small_copy: Path) -> None:
    run = open_run(small_copy)
    shard = small_copy / "stages/05-dedup/kept/part-00000.parquet"
    flip(shard)
    books = small_copy / "stages/05-dedup/stage.json"
    listed = run.stage("dedup").parts[0].kept.sha256
    books.write_text(books.read_text().replace(listed, "0" * 64))
    for read in (lambda: run.scan("dedup", "kept"), lambda: run.kept("dedup")):
        with pytest.raises(InterruptedRunError, match="written anew"):
            read()


@pytest.mark.filterwarnings("ignore")
def test_a_name_that_is_a_pattern_is_a_name(small_run: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(small_run, tmp_path / ODD))
    for command in READERS:
        (tmp_path / command).mkdir()
        done = synth(*line_of(command, odd, small_run, tmp_path / command))
        assert done.code == 0, done
        assert done.out
    pytest.importorskip("datasets", reason="the extra 'data' is not installed")
    assert open_run(odd).to_datasets().num_rows == open_run(small_run).to_datasets().num_rows


@pytest.mark.parametrize("command", ["report", "review", "export"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    small_copy: Path, tmp_path: Path, command: str
) -> None:
    shard = small_copy / "stages/05-dedup/kept/part-00000.parquet"
    shard.unlink()  # with it would end in 6 whoever reads rows first
    (tmp_path / "file").write_text("")
    wrong = {
        str(tmp_path / "file" / "x"): (7, 2),
        "/proc/x": (7, 7),  # nobody may write there
        str(tmp_path / ("x" * 300) / "y"): (7, 7),
    }
    if command == "review":
        wrong[str(tmp_path / "file")] = (2, 2)
    else:
        wrong |= {str(tmp_path): (2, 2), str(tmp_path / "no/x"): (7, 7), "/dev/null": (2, 2)}
    for place, codes in wrong.items():
        done = synth(command, small_copy, "--out", place)
        assert done.code == codes[command == "review"], (place, done)
        assert place in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "review", "export"])
@pytest.mark.parametrize("place", ["run.json", "journal.sqlite", "data/README.md", "stages/new"])
def test_no_run_is_written_over(
    small_run: Path, small_copy: Path, command: str, place: str
) -> None:
    before = books.all_files(small_copy)
    for run in (small_run, small_copy):
        done = synth(command, run, "--out", small_copy / place)
        assert done.code == 2, done
        assert "run" in done.err
        assert done.err.count("\n") == 1
    assert books.all_files(small_copy) == before


@pytest.mark.parametrize("command", ["report", "review"])
def test_a_full_disk_leaves_nothing_and_says_so(
    small_run: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    done = synth(command, small_run, "--out", out)
    assert done.code == 7
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err
    assert not out.is_file()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_path_is_printed_without_what_steers_a_terminal(small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "\x1b]0;x\x07.csv"
    done = synth("export", small_run, "--format", "csv", "--out", out)
    assert done.code == 0
    assert out.is_file()
    assert done.out == f"{tmp_path}/\\x1b]0;x\\x07.csv\n"
