"""Whoever reads a run's folders naively, at any moment of kills and resumes, sees whole shards."""

from pathlib import Path

import pytest

from tests.crash import campaign, checker, readers
from tests.crash.reading import reading
from tests.crash.workload import Workload
from tests.teacher_server.process import running_server

ABSENT = [name for name, is_there in readers.installed().items() if not is_there]


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
def test_four_naive_readers_meet_no_half_shard_and_lose_no_row(tmp_path: Path) -> None:
    workload = Workload(target=100, concurrency=16, shard_rows=20, median_s=0.15)
    out = tmp_path / "run"
    with running_server(tmp_path / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, tmp_path / "clean")
        with reading(out, hz=8) as reports:
            history = campaign.killed(workload, server, out, "readers", 6, clean)
    assert len(history.deaths) >= 3
    assert not checker.violations(history)
    assert {report["engine"] for report in reports} == set(readers.ENGINES)
    for report in reports:
        assert not report["errors"], report
        assert not report["fell"], report
        assert report["reads"] >= 10, report
        assert report["rows"] > 0, report


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
@pytest.mark.parametrize("engine", readers.ENGINES)
def test_a_reader_does_not_take_half_a_shard_for_a_whole_one(engine: str, tmp_path: Path) -> None:
    import polars as pl

    read = readers.opener(engine)
    pl.DataFrame({"a": list(range(1000))}).write_parquet(tmp_path / "part-0.parquet")
    assert read(str(tmp_path)) == 1000
    whole = (tmp_path / "part-0.parquet").read_bytes()
    (tmp_path / "part-1.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match=r"(?i)parquet|magic|footer|file"):
        read(str(tmp_path))
