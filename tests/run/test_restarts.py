"""A process may be killed at its very start, or while it replaces a file."""

from pathlib import Path

from tests.run import books, processes

SMALL = ("bootstrap.target=60", "shard_rows=50")


def test_a_run_killed_before_it_asked_anybody_goes_on_with_the_same_command(
    small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = processes.command(out, SMALL)
    for name in ("lock", "inputs/bootstrap.md", "recipe.yaml"):
        process = processes.start(line)
        processes.wait_until((out / name).exists, process)
        processes.kill(process)
    assert processes.finish(line) == (0, "")
    assert books.data_files(out) == books.data_files(small_run)


def test_what_a_killed_process_left_half_written_is_removed_at_the_next_start(
    small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = processes.command(out, SMALL)
    process = processes.start(line)
    processes.wait_until((out / "stages/02-classify/stage.json").exists, process)
    processes.kill(process)
    for orphan in (".staging/tmp1", ".staging/stage/kept/part-00000.parquet", "stages/.new-ab"):
        (out / orphan).parent.mkdir(parents=True, exist_ok=True)
        (out / orphan).write_bytes(b"half")
    assert processes.finish(line) == (0, "")
    assert set(books.all_files(out)) == set(books.all_files(small_run))
    assert books.data_files(out) == books.data_files(small_run)
