"""What the recipe masks is nowhere in the run directory but in its journal, and purged there."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.masks import MASK
from pipeline.errors import InputError, RecipeError
from pipeline.run import masking as masking_module
from pipeline.run import prepare as preparing
from pipeline.run.masking import Masking
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.run.purge_masked import purge_masked
from pipeline.run.replay import replay
from pipeline.schema import arrow_schema
from pipeline.seed_tasks import load
from pipeline.stage import Reply
from pipeline.teacher.asker import HIDDEN
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.filters.planted import PLANTED
from tests.run import books, processes
from tests.security.command import synth
from tests.teacher_server.process import Server

ALL = "mask=[all]"
RNG = Random(77)
IN_INPUT = {kind: make(RNG) for kind, make in PLANTED.items()}
IN_REPLY = {kind: make(RNG) for kind, make in PLANTED.items()}
ANSWER = "Here it is. " + " and then\n\n".join(f"{what} " for what in IN_REPLY.values()) + "end."


LABEL = re.compile(
    r"phone: |电话：|SSN |password: |密码：|密码是 |'api_key': |token(?: =|:) |[A-Za-z_]+="
)


def core(what: str) -> str:
    """What of a planted text nobody may find; words such as `password: ` may stay."""
    if "PRIVATE KEY" in what:
        return what.split("\n")[1]
    if "://" in what:
        return what.split(":")[2].split("@")[0]
    return LABEL.split(what)[-1].strip("'\"")


def bytes_of(run: Path) -> dict[str, bytes]:
    """What each file holds, raw and, of Parquet, every column decoded with its statistics."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file():
            found[path.relative_to(run).as_posix()] = path.read_bytes()
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            said = json.dumps(file.read().to_pylist(), ensure_ascii=False)
            stats = str(file.metadata.to_dict()) + str(file.schema_arrow.metadata)
            found[f"{path.relative_to(run)} decoded"] = (said + stats).encode()
    return found


def places(run: Path, values: Iterable[str]) -> dict[str, set[str]]:
    """In which files each value stands, as it is or as JSON writes it."""
    files = bytes_of(run)
    return {
        value: {
            name.split(" ")[0]
            for name, held in files.items()
            if any(
                form.encode() in held
                for form in {value, json.dumps(value)[1:-1], json.dumps(json.dumps(value))[3:-3]}
            )
        }
        for value in values
    }


INPUT = [core(what) for what in IN_INPUT.values()]
REPLY = [core(what) for what in IN_REPLY.values()]


def rows_file(path: Path, kind: str) -> Path:
    """A row for each planted text, some of which the import drops, in several forms."""
    rows: list[dict[str, Any]] = [
        {"instruction": f"Say what this is: {what}", "input": "", "output": f"It is {what}."}
        for what in IN_INPUT.values()
    ]
    rows.append({"instruction": "", "input": "", "output": IN_INPUT["email"]})
    if kind == "jsonl":
        whole = "; ".join(IN_INPUT.values())
        turns = [("user", "Hi there."), ("assistant", whole), ("user", whole), ("assistant", "Ok.")]
        rows.append({"messages": [{"role": r, "content": c} for r, c in turns]})
        rows.append({"instruction": {"not": whole}, "output": whole})
        rows.append({"neither": whole, "nor": whole})
        path = path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path = path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_masked_is_in_the_journal_alone_and_then_nowhere(
    run_synth: RunSynth, server: Server, tmp_path: Path, kind: str
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": ANSWER}})
    out, uri = tmp_path / "run", f"openai:m@{server.url}"
    given = rows_file(tmp_path, kind)
    plain = ("respond.samples=1", "respond.steps=false", "shard_rows=4")
    run_synth(out, ALL, *plain, recipe="respond", input=str(given), teacher=uri)
    verify(out)
    found = places(out, [*INPUT, *REPLY])
    assert {value: files for value, files in found.items() if files != {"journal.sqlite"}} == {}

    rows = books.rows(out, "respond")
    assert len(rows) >= len(IN_INPUT)
    for row, what in zip(rows, IN_INPUT, strict=False):
        assert MASK.search(row["instruction"])
        assert set(row["masked"]) == {what, *IN_REPLY}
    assert {m for row in books.rows(out, "import") for m in row["masked"]} == set(IN_INPUT)
    assert all(not MASK.search(r["instruction"]) or r["masked"] for r in books.rows(out, "import"))
    assert books.rows(out, "import", "dropped")

    again = tmp_path / "again"
    run_synth(again, ALL, *plain, recipe="respond", input=str(given), teacher=uri)
    assert books.data_files(again) == books.data_files(out)
    purge_masked(again)
    verify(again)
    assert books.data_files(again) == books.data_files(out)
    assert not any(places(again, [*INPUT, *REPLY]).values())

    for row in books.rows(out, "import"):
        purge(out, row=row["row_id"])
    verify(out)
    assert not any(places(out, [*INPUT, *REPLY]).values())


def test_without_masks_the_planted_texts_are_found(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    """The search of the test before finds what is there."""
    server.set_plan({"content": {"mode": "fixed", "text": ANSWER}})
    out, uri = tmp_path / "run", f"openai:m@{server.url}"
    plain = ("respond.samples=1", "respond.steps=false")
    given = rows_file(tmp_path, "jsonl")
    run_synth(out, *plain, recipe="respond", input=str(given), teacher=uri)
    found = places(out, [*INPUT, *REPLY])
    assert all(found[value] - {"journal.sqlite"} for value in (*INPUT, *REPLY))
    assert "masked" not in books.rows(out, "respond")[0]
    assert "masked" not in arrow_schema(books.stage_json(out, "respond")["columns"]).names


def seeds_file(path: Path) -> Path:
    tasks = [
        {
            "id": f"seed_{number}",
            "name": f"about {what}",
            "instruction": f"Tell me what number {number} is: {what}.",
            "instances": [{"input": what, "output": f"It is {what}."}],
            "is_classification": False,
        }
        for number, what in enumerate(IN_INPUT.values())
    ]
    path = path / "seeds.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    return path


def items() -> str:
    verbs = ("Describe", "Explain", "Translate", "Shorten", "Rewrite", "Check", "Sort", "Name",
             "Compare", "Count")  # fmt: skip
    things = ("rivers", "old bridges", "tea", "a quiet street", "winter birds", "maps", "bread")
    lines = [
        f"{n}. {verb} {things[n % len(things)]} with {n} words, and write {what} below it."
        for n, (verb, what) in enumerate(zip(verbs, IN_REPLY.values(), strict=True), start=1)
        if "\n" not in what
    ]
    return "\n".join(lines)


def test_seeds_and_drafts_are_masked_and_a_run_is_the_same_however_it_is_made(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": items()}})
    out, uri = tmp_path / "run", f"openai:m@{server.url}"
    settings = (ALL, "bootstrap.target=4", "bootstrap.window=2", "shard_rows=3")
    seeds = str(seeds_file(tmp_path))
    run_synth(out, *settings, seeds=seeds, teacher=uri, until="bootstrap")
    rows = books.rows(out, "bootstrap")
    kinds = {kind for row in rows for kind in row["masked"]}
    assert {"email", "phone"} & kinds
    told = [value for value in REPLY if value in items()]
    assert len(told) == len(IN_REPLY) - 1
    found = places(out, [*INPUT, *told])
    assert {value: files for value, files in found.items() if files != {"journal.sqlite"}} == {}
    assert (
        load(str(out / "inputs" / "seeds.jsonl")).sha256
        == json.loads((out / "run.json").read_bytes())["identity"]["seeds"]
    )

    before = drafted(out)
    replay(out, lambda event: None)
    assert drafted(out) == before
    (tmp_path / "seeds.jsonl").rename(tmp_path / "elsewhere.jsonl")
    replay(out, lambda event: None, out=tmp_path / "copy")
    assert drafted(tmp_path / "copy") == before
    found = places(tmp_path / "copy", INPUT)
    assert not [files for files in found.values() if files - {"journal.sqlite"}]


def drafted(run: Path) -> dict[str, str]:
    return {name: sha for name, sha in books.data_files(run).items() if "bootstrap" in name}


def test_a_killed_run_goes_on_with_the_same_masks(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": ANSWER}, "latency": {"median_s": 0.2}})
    uri = f"openai:m@{server.url}"
    given = str(rows_file(tmp_path, "jsonl"))
    plain = ("respond.samples=1", "respond.steps=false", "shard_rows=2", "teacher.concurrency=1")
    run_synth(tmp_path / "whole", ALL, *plain, recipe="respond", input=given, teacher=uri)
    line = [*processes.command(tmp_path / "killed", [ALL, *plain], uri), "--recipe", "respond"]
    line += ["--input", given]
    process = processes.start(line)
    processes.wait_until(lambda: len(books.records(tmp_path / "killed")) > 5, process)
    processes.kill(process)
    assert processes.finish(line)[0] == 0
    assert books.data_files(tmp_path / "killed") == books.data_files(tmp_path / "whole")

    changed = ["respond.samples=1", "respond.steps=false", "shard_rows=2", "mask=[phone]"]
    code, said = processes.finish(
        [
            *processes.command(tmp_path / "killed", changed, uri),
            "--recipe",
            "respond",
            "--input",
            given,
        ]
    )
    assert code == 2
    assert "mask was" in said


def test_from_masks_what_the_old_run_had_taken_in_and_bought_plain(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": ANSWER}})
    uri, given = f"openai:m@{server.url}", str(rows_file(tmp_path, "parquet"))
    plain = ("respond.samples=1", "respond.steps=false")
    run_synth(tmp_path / "old", *plain, recipe="respond", input=given, teacher=uri)
    new = tmp_path / "new"
    old = str(tmp_path / "old")
    run_synth(new, *plain, ALL, recipe="respond", input=given, made_from=old, teacher=uri)
    found = places(new, [*INPUT, *REPLY])
    assert {v: files for v, files in found.items() if files - {"journal.sqlite"}} == {}
    third = tmp_path / "third"
    run_synth(third, ALL, recipe="dedup", input=old)
    assert all(not files for files in places(third, [*INPUT, *REPLY]).values())
    assert set(books.rows(third, "import")[0]["masked"]) >= {"email", *IN_REPLY}


def test_an_error_that_quotes_a_server_is_masked(server: Server, tmp_path: Path) -> None:
    said = f"no such model, ask {IN_REPLY['email']}"
    fault = {"fault": "status", "status": 404, "message": said}
    server.set_plan({"rules": [{**fault, "match": {"kind": "chat"}}]})
    given = str(rows_file(tmp_path, "parquet"))
    line = processes.command(tmp_path / "run", [ALL], f"openai:m@{server.url}")
    code, text = processes.finish([*line, "--recipe", "respond", "--input", given])
    assert code == 5
    assert "[e-mail" in text
    assert IN_REPLY["email"] not in text
    (found,) = places(tmp_path / "run", [IN_REPLY["email"]]).values()
    assert found <= {"journal.sqlite"}


def test_a_table_is_masked_as_its_rows_are() -> None:
    rows = [
        {"row_id": f"r{n}", "instruction": what, "output": None, "answers": None,
         "messages": [{"role": "user", "content": f"It is {what}"}]}
        for n, what in enumerate([*IN_INPUT.values(), "nothing", ""])
    ]  # fmt: skip
    told, again = "My password is k3Xv9QmT2bLw7Zpr.", "k3Xv9QmT2bLw7Zpr is long."
    turns = [{"role": "user", "content": again}]
    rows += [  # what one text tells is masked in the others, either way round
        {"row_id": "a", "instruction": told, "output": again, "answers": None, "messages": turns},
        {"row_id": "b", "instruction": again, "output": told, "answers": None, "messages": None},
        {"row_id": "c", "instruction": "", "output": "", "answers": None, "messages": None},
    ]
    schema = arrow_schema(["row_id", "instruction", "output", "answers", "messages"])
    masking = Masking(tuple(PLANTED))
    table = masking.table(pa.Table.from_pylist(rows, schema))
    assert table.to_pylist() == [masking.row(row) for row in rows]
    assert masking.table(table).equals(table)
    assert [row["masked"] for row in table.to_pylist()][-5:] == [[], [], *[["secret"]] * 2, []]
    assert "k3Xv9QmT2bLw7Zpr" not in str(table.to_pylist())
    knowing = Masking(tuple(PLANTED))  # what a row tells is masked in those that it is bare in
    bare = [{**rows[-3], "row_id": "d", "instruction": again, "output": None, "messages": None}]
    more = pa.Table.from_pylist([*bare, *rows, {**bare[0], "row_id": "e"}], schema)
    knowing.learn_table(more)
    found = knowing.table(more).to_pylist()
    assert found == [knowing.row(row) for row in more.to_pylist()]
    assert [found[0]["masked"], found[-1]["masked"]] == [["secret"], ["secret"]]
    assert found[1:-1] == table.to_pylist()
    fewer = Masking(("phone",))  # what was masked before is still said
    assert fewer.table(table).equals(table)
    assert [fewer.row(row) for row in table.to_pylist()] == table.to_pylist()
    other = Masking(())
    assert other.table(pa.Table.from_pylist(rows, schema)).schema == schema
    assert [other.row(row) for row in rows] == rows
    assert not other


def test_replies_are_masked_and_ids_stay() -> None:
    masking = Masking(("email",))
    row = {"row_id": "kim@post.de", "input": "a@b.de", "drop_detail": "fields kim@post.de"}
    assert masking.row(row) == {
        "row_id": "kim@post.de",
        "input": "[e-mail:xxxxxxx]",
        "drop_detail": "fields [e-mail:xxxxxxx]",
        "masked": ["email"],
    }
    assert masking.reply(Reply("Ask kim@post.de", "length")).finish_reason == "length"
    assert masking.reply(Reply("Ask kim@post.de")).text == "Ask [e-mail:xxxxxxx]"


def test_kinds_are_named_alone_or_together_and_wrong_ones_refused(tmp_path: Path) -> None:
    given = rows_file(tmp_path, "parquet")

    def kinds(said: str) -> tuple[str, ...]:
        options = Options(
            recipe="dedup", input=str(given), out=str(tmp_path / "r"), settings=[said]
        )
        return prepare(options, {}).recipe.settings.mask

    assert kinds("mask=[secret, email]") == ("email", "secret")
    assert kinds("mask=secrets") == ("api_key", "jwt", "private_key", "secret")
    assert kinds("mask=all") == tuple(PLANTED)
    assert kinds("mask=false") == ()
    with pytest.raises(RecipeError, match="there is no kind 'mails' to be masked; there are all"):
        kinds("mask=[mails]")


def test_a_run_that_masks_nothing_has_no_masked_replies(small_copy: Path) -> None:
    before = books.all_files(small_copy)
    with pytest.raises(InputError, match="masks nothing"):
        purge_masked(small_copy)
    assert books.all_files(small_copy) == before


def test_of_a_reply_that_is_no_answer_only_the_outcome_leaves_the_journal(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    said = f"the prompt is refused, ask {IN_REPLY['email']}"
    server.set_plan(
        {"rules": [{"fault": "bad_request", "message": said, "match": {"kind": "chat"}}]}
    )
    given, out = rows_file(tmp_path, "parquet"), tmp_path / "run"
    uri = f"openai:m@{server.url}"
    run_synth(out, ALL, "respond.samples=1", recipe="respond", input=str(given), teacher=uri)
    dropped = books.rows(out, "respond", "dropped")
    assert {row["drop_reason"] for row in dropped} == {"bad_request"}
    assert {row["drop_detail"] for row in dropped} == {HIDDEN}
    assert places(out, [IN_REPLY["email"]]) == {IN_REPLY["email"]: {"journal.sqlite"}}


def test_packages_that_are_missing_are_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = rows_file(tmp_path, "parquet")
    for place in (masking_module, preparing):
        monkeypatch.setattr(place, "find_spec", lambda name: None)

    def options(*settings: str) -> Options:
        return Options(
            recipe="clean", input=str(given), out=str(tmp_path / "r"), settings=list(settings)
        )

    with pytest.raises(RecipeError) as error:
        prepare(options("mask=all", "clean.personal_data=true"), {})
    assert "mask needs phonenumbers and stdnum: pip install '.[clean]'" in str(error.value)
    assert "clean: personal_data needs stdnum: pip install '.[clean]'" in str(error.value)
    assert prepare(options("mask=[email, secrets, ip_address]"), {}).masking
    flag = "clean.personal_data={action: flag, kinds: [email, ip_address]}"
    assert prepare(options(flag), {}).columns[-1][-1] == "personal_data"


def test_masked_replies_are_purged_by_a_command(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": f"Ask {IN_REPLY['email']}."}})
    given, out = rows_file(tmp_path, "parquet"), tmp_path / "run"
    plain = ("respond.samples=1", "respond.steps=false", "import.rows=3")
    uri = f"openai:m@{server.url}"
    run_synth(out, ALL, *plain, recipe="respond", input=str(given), teacher=uri)
    done = synth("purge", str(out), "--masked")
    assert (done.returncode, done.stdout) == (
        0,
        b"3 replies in the journal held what the rows have masked: taken out.\n",
    )
    assert not places(out, [IN_REPLY["email"]])[IN_REPLY["email"]]
    assert synth("purge", str(out), "--masked", "--row", "import-000000-00").returncode == 2
    again = synth("purge", str(out), "--masked")
    assert again.stdout == b"What the rows have masked is nowhere in the journal (any more).\n"
