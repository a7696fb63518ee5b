"""What one text of a run tells is nowhere plain in its directory, wherever else it stands."""

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.masks import MASK
from filters.told import Told
from pipeline.run import masking
from pipeline.run.options import Options
from pipeline.run.prepare import prepare
from pipeline.run.purge import purge
from pipeline.run.purge_masked import purge_masked
from pipeline.run.replay import replay
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.filters.planted import drawn
from tests.run import books, processes
from tests.run.test_masking import bytes_of, drafted
from tests.soaked import soaked
from tests.teacher_server.process import Server

ALL = "mask=[all]"
RNG = Random(91)
KEY = "\n".join(["-----BEGIN PRIVATE KEY-----", *(drawn(RNG, 64) for _ in range(4)), "--"])
LOGIN = "aB3xK9qT"
PLANTED = {
    "email": ("kim.berger@post.de", ["kim.berger@post.de", "KIM.Berger@post.de"]),
    "phone": ("+49 171 2345098", ["491712345098", "0171 2345098", "171/234 50 98"]),
    "iban": (
        "DE75 5121 0800 1245 1261 99",
        ["de75512108001245126199", "DE75.5121.0800124512.6199"],
    ),
    "card": (
        "5425 2334 3010 9903",
        ["5425233430109903", "5425.2334.3010.9903", "54252334-30109903"],
    ),
    "national_id": ("SSN 536904399", ["536904399", "536 90 4399", "536.904.399"]),
    "ip_address": ("81.169.145.70", ["81.169.145.70"]),
    "api_key": (key := f"sk-proj-{drawn(RNG, 48)}", [key]),
    "jwt": (f"eyJhbGciOiJIUzI1NiJ9.eyJpZCI6Nzd9.{(end := drawn(RNG, 43))}", []),
    "private_key": (KEY, KEY.split("\n")[1:5]),
    "secret": ("password: k3Xv9QmT2bLw7Zpr", ["k3Xv9QmT2bLw7Zpr"]),
    "login": (f"postgres://app:{LOGIN}@db.corp.net/main", [LOGIN]),
}
"""How each is told, and how else it is written."""
BARE = [one for told, others in PLANTED.values() for one in others]
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
VALUES = [*BARE, *(one.translate(WIDE) for one in BARE if not re.search("[A-Za-z]", one))]
VALUES += [KEY.split("\n")[2], "5425 2334 3010 9903", "DE75 5121 0800 1245 1261 99", end]
QUIET = "Order no. {}, version {}; part/{} of https://{}/x?"
"""Nothing there says what they are."""


def quiet() -> list[str]:
    """Each value where nothing tells what it is, in texts of three."""
    texts = []
    for first, *_ in pairwise([*VALUES, VALUES[0]]):
        texts.append(QUIET.format(first, first, first, first))
    return texts


REPLY = "I repeat: " + "\n".join(f"No. {one}." for one in VALUES)


def left_in(run: Path, values: Iterable[str] = VALUES) -> dict[str, set[str]]:
    """The values that stand somewhere in a run, in any spelling of JSON, and in which files."""
    found: dict[str, set[str]] = {}
    for name, held in bytes_of(run).items():
        for value in values:
            forms = {value, json.dumps(value)[1:-1], json.dumps(json.dumps(value))[3:-3]}
            if any(form.encode() in held for form in forms):
                found.setdefault(value, set()).add(name.split(" ")[0])
    return found


def rows(texts: Iterable[str]) -> list[dict[str, str]]:
    return [
        {"instruction": f"Say number {at}: {text}", "input": "", "output": f"{text} it is."}
        for at, text in enumerate(texts)
    ]


def telling() -> list[str]:
    return [f"Her details, from the server: {told} and no more." for told, _ in PLANTED.values()]


def write(path: Path, found: list[dict[str, str]]) -> Path:
    """Rows as the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), path, row_group_size=7)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def sources(tmp_path: Path, kind: str) -> list[str]:
    """Settings: one set tells between rows that do not, and another holds the values alone."""
    first = write(tmp_path / f"first.{kind}", rows([*quiet(), *telling(), *quiet()]))
    second = write(tmp_path / "second.jsonl", rows(quiet()))
    return [f"import.sets={{before: {second}, those: {first}, after: {second}}}", "shard_rows=9"]


def test_without_masks_every_value_is_found(run_synth: RunSynth, tmp_path: Path) -> None:
    """The search of the other tests finds what is there."""
    given = sources(tmp_path, "jsonl")
    run_synth(tmp_path / "run", *given, recipe="dedup")
    assert set(left_in(tmp_path / "run")) == set(VALUES)


def test_without_the_rows_that_tell_most_values_stay(run_synth: RunSynth, tmp_path: Path) -> None:
    """So that the other tests do not pass because each value is found by itself."""
    given = write(tmp_path / "rows.jsonl", rows(quiet()))
    run_synth(tmp_path / "run", ALL, recipe="dedup", input=str(given))
    left = left_in(tmp_path / "run")
    alone = {value: left.get(value) for value in VALUES if value not in left}
    assert len(left) > len(VALUES) * 2 // 3, alone


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_one_row_tells_is_masked_in_every_row_file_and_shard(
    run_synth: RunSynth, tmp_path: Path, kind: str
) -> None:
    out, given = tmp_path / "run", sources(tmp_path, kind)
    run_synth(out, ALL, *given, recipe="dedup")
    verify(out)
    assert left_in(out) == {}
    found = books.rows(out, "import")
    assert len(found) == 4 * len(VALUES) + len(PLANTED)
    assert all(MASK.search(row["instruction"]) and row["masked"] for row in found)
    fewer = tmp_path / "fewer"  # a limit that leaves the telling rows out changes no mask
    run_synth(fewer, ALL, *given, "import.rows=20", recipe="dedup")
    assert books.rows(fewer, "import") == found[:20]
    run_synth(fewer, ALL, *given, "import.rows=90", recipe="dedup")
    assert books.rows(fewer, "import") == found[:90]
    other = tmp_path / "other"
    run_synth(other, ALL, given[0], "shard_rows=1000", recipe="dedup")
    assert books.rows(other, "import") == found
    assert left_in(fewer) == left_in(other) == {}


@pytest.mark.parametrize(
    "place", ["part_unlisted:4", soaked("part_listed:9"), soaked("before_seal:1")]
)
def test_a_killed_import_goes_on_with_the_same_values(
    run_synth: RunSynth, tmp_path: Path, place: str
) -> None:
    given = sources(tmp_path, "parquet")
    run_synth(tmp_path / "whole", ALL, *given, recipe="dedup")
    line = [*processes.command(tmp_path / "killed", [ALL, *given]), "--recipe", "dedup"]
    assert processes.finish(line, SYNTH_CRASH_AT=place)[0] == -9
    assert books.data_files(tmp_path / "killed") != books.data_files(tmp_path / "whole")
    assert left_in(tmp_path / "killed") == {}
    assert processes.finish(line, PYTHONHASHSEED="7")[0] == 0
    assert books.data_files(tmp_path / "killed") == books.data_files(tmp_path / "whole")
    assert left_in(tmp_path / "killed") == {}


PLAIN = ("respond.samples=1", "respond.steps=false", "teacher.concurrency=1")


def test_replies_are_masked_by_what_rows_tell_killed_replayed_and_purged(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": REPLY}, "latency": {"median_s": 0.02}})
    uri, out = f"openai:m@{server.url}", tmp_path / "run"
    given = write(tmp_path / "rows.parquet", rows([*quiet()[:5], *telling(), *quiet()[5:9]]))
    settings = [ALL, *PLAIN, "shard_rows=4"]
    run_synth(out, *settings, recipe="respond", input=str(given), teacher=uri)
    verify(out)
    left = left_in(out)
    assert set(left) == set(VALUES)
    assert all(files == {"journal.sqlite"} for files in left.values())
    assert all(MASK.search(row["output"]) for row in books.rows(out, "respond"))

    killed = tmp_path / "killed"
    line = [*processes.command(killed, settings, uri), "--recipe", "respond", "--input", str(given)]
    assert processes.finish(line, SYNTH_CRASH_AT="after_commit:8")[0] == -9
    given.rename(tmp_path / "elsewhere.parquet")  # the journal says what it told
    assert processes.finish(line)[0] == 0
    assert books.data_files(killed) == books.data_files(out)
    before = books.data_files(out)
    replay(out, lambda event: None)
    assert books.data_files(out) == before
    replay(out, lambda event: None, out=tmp_path / "copy")
    assert {file for files in left_in(tmp_path / "copy").values() for file in files} == {
        "journal.sqlite"
    }
    run_synth(tmp_path / "new", *settings, "respond.samples=2", recipe="respond",
              made_from=str(out), teacher=uri)  # fmt: skip
    assert not [files for files in left_in(tmp_path / "new").values() if len(files) > 1]

    assert purge_masked(out) == len(books.rows(out, "respond"))
    verify(out)
    assert left_in(out) == {}
    assert books.data_files(out) == before
    assert purge_masked(out) == 0
    rows_there = books.rows(killed, "import")
    purge(killed, row=rows_there[0]["row_id"], descendants=True)
    assert left_in(killed) == {}  # whose values they were nobody knows any more
    verify(killed)


def test_a_replay_by_other_code_still_masks_what_the_input_told(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    """A seed task tells, a draft repeats; the seed file is gone when the run is replayed."""
    items = [
        f"{n}. Explain the meaning of line {n} in a book of {thing}: {value}"
        for n, (thing, value) in enumerate(
            zip(["tea", "rivers", "maps", "winter birds", "bread", "old bridges", "glass"],
                [v for v in VALUES if " " not in v][:7], strict=True), start=1)
    ]  # fmt: skip
    server.set_plan({"content": {"mode": "fixed", "text": "\n".join(items)}})
    tasks = [
        {
            "id": f"seed_{n}",
            "name": f"about {n}",
            "instruction": f"Tell me what number {n} is: {text}",
            "instances": [{"input": text, "output": f"It is {text}"}],
            "is_classification": False,
        }
        for n, text in enumerate([*quiet()[:4], *telling(), *quiet()[4:]])
    ]
    seeds, out = tmp_path / "seeds.jsonl", tmp_path / "run"
    seeds.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    settings = (ALL, "bootstrap.target=3", "bootstrap.window=2", "shard_rows=3")
    uri = f"openai:m@{server.url}"
    run_synth(out, *settings, seeds=str(seeds), teacher=uri, until="bootstrap")
    assert {file for files in left_in(out).values() for file in files} == {"journal.sqlite"}
    said = (out / "inputs" / "seeds.jsonl").read_text(encoding="utf-8")
    assert len(said.splitlines()) == len(tasks)
    assert all(MASK.search(line) for line in said.splitlines())
    before = drafted(out)
    seeds.unlink()
    replay(out, lambda event: None)
    assert drafted(out) == before


def test_of_too_many_values_the_first_are_masked_everywhere(
    run_synth: RunSynth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "Told", lambda: Told(most=2))
    said: list[str] = []
    texts = ["password: k3Xv9QmT2bLw7Zpr", "password: w8Yb2KsD5nVx", "password: e7Rt4PlM9cQz"]
    texts += [one.removeprefix("password: ") for one in texts]
    given = write(tmp_path / "rows.jsonl", rows(texts))
    out = tmp_path / "run"
    run_synth(out, ALL, recipe="dedup", input=str(given),
              listener=lambda event: said.append(str(event)))  # fmt: skip
    assert any("more than 2 values" in one for one in said)
    found = [bool(row["masked"]) for row in books.rows(out, "import")]
    assert found == [True] * 5 + [False]


def test_a_run_that_asks_nobody_keeps_no_values(run_synth: RunSynth, tmp_path: Path) -> None:
    given = write(tmp_path / "rows.jsonl", rows([*telling(), *quiet()]))
    run_synth(tmp_path / "run", ALL, recipe="dedup", input=str(given))
    assert left_in(tmp_path / "run", [told for told, _ in PLANTED.values()]) == {}
    options = Options(recipe="dedup", input=str(given), out=str(tmp_path / "run"), settings=[ALL])
    assert prepare(options, {}).is_finished
