"""Shards appear whole, read back as written, and damage is loud."""

import hashlib
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import manifest, schema, store
from pipeline.errors import DamagedError, RecipeError
from pipeline.manifest import RunManifest, StageManifest
from tests.run import processes

COLUMNS = ("row_id", "origin", "instruction", "shown")


def row(n: int, **more: object) -> dict[str, Any]:
    text = f"Describe river number {n} in a few words."
    return {
        "row_id": f"a-{n:06d}-00",
        "origin": "teacher",
        "instruction": text,
        "shown": ["x"],
    } | more


def table(rows: int = 300) -> pa.Table:
    return pa.Table.from_pylist([row(n) for n in range(rows)], schema.arrow_schema(COLUMNS))


def folder(run: Path, shard_rows: int = 10) -> store.StageFolder:
    path = run / "stages/01-a/stage.json"
    if path.is_file():
        state = manifest.read(StageManifest, path)
    else:
        state = StageManifest(
            name="a",
            stage="a",
            index=0,
            version=1,
            fingerprint="",
            columns=COLUMNS,
            drop_columns=schema.DROP_COLUMNS,
            settings={},
        )
    opened = store.StageFolder(run, state, shard_rows)
    opened.create()
    return opened


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    entries = [store.write_shard(table(), tmp_path / f"{n}.parquet", tmp_path) for n in range(2)]
    assert entries[0].sha256 == entries[1].sha256
    content = (tmp_path / "0.parquet").read_bytes()
    assert entries[0].sha256 == hashlib.sha256(content).hexdigest()
    assert (entries[0].rows, entries[0].bytes) == (300, len(content))
    assert pq.read_table(tmp_path / "0.parquet").to_pylist() == table().to_pylist()


def test_a_shard_says_its_schema_and_what_its_columns_mean(tmp_path: Path) -> None:
    store.write_shard(table(), tmp_path / "a.parquet", tmp_path)
    found = pq.read_schema(tmp_path / "a.parquet")
    assert found.names == list(COLUMNS)
    assert found.metadata[b"synth.schema"] == b"1"
    assert found.field("instruction").metadata[b"meaning"] == b"what to do"


def test_a_shard_is_synced_and_renamed_from_staging_before_it_is_listed(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    out, trace = tmp_path / "run", tmp_path / "trace"
    line = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(trace),
        "-e",
        "trace=openat,fsync,rename,renameat,renameat2",
    ]
    line += processes.command(out, ["bootstrap.target=30", "shard_rows=20"])
    assert processes.finish([*line, "--until", "bootstrap"]) == (0, "")
    calls = trace.read_text(errors="replace").splitlines()
    renames = [n for n, call in enumerate(calls) if "rename" in call and ".parquet" in call]
    assert len(renames) >= 4
    for n in renames:
        _, staged, _, target, *_ = calls[n].split('"')
        assert Path(staged).parent == out / ".staging"
        home = str(Path(target).parent)
        before = [call for call in calls[:n] if "fsync" in call and staged in call]
        assert before, f"{target} was not synced"
        after = calls[n:]
        synced = next(i for i, c in enumerate(after) if "fsync" in c and f"<{home}>" in c)
        listed = next(i for i, c in enumerate(after) if "rename" in c and "stage.json" in c)
        assert synced < listed
    for path in (f"{out}/stages", f"{out}/data"):
        opened = [c for c in calls if "openat" in c and path in c and ".parquet" in c]
        assert not [c for c in opened if "O_WRONLY" in c or "O_RDWR" in c or "O_CREAT" in c]


def test_a_flipped_bit_never_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    entry = store.write_shard(table(), path, tmp_path)
    content, rng = path.read_bytes(), Random(7)
    rows = table().to_pylist()
    read_wrong = 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert store.describe(path).sha256 != entry.sha256
        except DamagedError as error:
            assert str(path) in str(error)  # noqa: PT017 - either way of noticing is right
        try:
            read_wrong += list(store.read_rows([path])) != rows
        except (pa.ArrowException, OSError, DamagedError, UnicodeDecodeError):
            continue
    assert read_wrong < 30, "page checksums are off"


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_cut_shard_is_damage(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.parquet"
    store.write_shard(table(), path, tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DamagedError, match=r"a\.parquet"):
        store.describe(path)


def test_parts_are_cut_at_slots_and_the_books_are_kept(tmp_path: Path) -> None:
    opened = folder(tmp_path)
    drop = {"drop_reason": "too_few_words", "drop_detail": "1 words", "drop_ref": None}
    for slot in range(12):
        opened.add([row(3 * slot), row(3 * slot + 1)], [row(3 * slot + 2) | drop], journal=slot)
    assert (opened.kept, opened.candidates) == (24, 36)
    assert opened.dropped_by_reason() == {"too_few_words": 12}
    opened.seal(journal=12)
    parts = opened.state.parts
    assert [(part.first_slot, part.next_slot) for part in parts] == [(0, 4), (4, 8), (8, 12)]
    assert [part.candidates for part in parts] == [12, 12, 12]
    again = folder(tmp_path)
    assert again.state == opened.state
    assert again.state.complete
    kept = list(store.read_rows(store.shards(again.path, again.state)))
    assert [found["row_id"] for found in kept] == [
        row(n)["row_id"] for n in range(36) if n % 3 != 2
    ]


def test_what_was_not_published_is_written_again_by_the_next_process(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for run, stops in ((whole, []), (broken, [3, 7, 8, 20])):
        opened, slot = folder(run), 0
        while slot < 25:
            if slot in stops:
                stops.remove(slot)
                opened = folder(run)
                slot = opened.next_slot
                continue
            opened.add([row(2 * slot), row(2 * slot + 1)], [], journal=slot)
            slot += 1
        opened.seal(journal=25)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*.parquet"))
    assert names == sorted(path.relative_to(broken) for path in broken.rglob("*.parquet"))
    for name in names:
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_a_stage_without_rows_still_has_its_shards(tmp_path: Path) -> None:
    opened = folder(tmp_path)
    opened.seal(journal=0)
    (part,) = opened.state.parts
    assert (part.candidates, part.kept.rows, part.dropped.rows) == (0, 0, 0)
    found = pq.read_schema(opened.path / part.dropped.path)
    assert found.names == [*COLUMNS, *schema.DROP_COLUMNS]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 60))
def test_reading_can_start_anywhere(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int
) -> None:
    run = tmp_path_factory.mktemp("read")
    paths, rows = [], []
    for number, size in enumerate(sizes):
        part = [row(100 * number + n) for n in range(size)]
        paths.append(run / f"{number}.parquet")
        made = pa.Table.from_pylist(part, schema.arrow_schema(COLUMNS))
        store.write_shard(made, paths[-1], run)
        rows += part
    assert list(store.read_rows(paths, start=start)) == rows[start:]
    ids = [{"row_id": found["row_id"]} for found in rows[start:]]
    assert list(store.read_rows(paths, ("row_id",), start)) == ids


@given(st.text())
def test_any_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    run = tmp_path_factory.mktemp("text")
    made = pa.Table.from_pylist([row(0, instruction=text)], schema.arrow_schema(COLUMNS))
    store.write_shard(made, run / "a.parquet", run)
    (found,) = store.read_rows([run / "a.parquet"])
    assert found["instruction"] == text


def test_columns_stand_in_the_order_of_the_schema_each_once() -> None:
    assert schema.in_order(["output", "row_id", "output"]) == ("row_id", "output")
    with pytest.raises(KeyError, match="prompt"):
        schema.in_order(["row_id", "prompt"])


def test_staging_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".staging/stage/kept").mkdir(parents=True)
    for name in (".staging/tmp1", ".staging/stage/kept/a.parquet", ".new-x"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "run.json").write_bytes(b"whole")
    store.clear_staging(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".staging", "run.json"]


def test_a_newer_manifest_is_refused_and_a_damaged_one_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for content in (b"", b"[]", b"{", b"\xff\xfe", b'{"format": "one"}', b'{"format": 1}', b"null"):
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=r"run\.json is damaged"):
            manifest.read(RunManifest, path)
    path.write_bytes(b'{"format": 2}')
    with pytest.raises(RecipeError, match="format 2"):
        manifest.read(RunManifest, path)
