"""`status`, `show`, `why` and `verify` as a person calls them."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.cli import look
from pipeline.errors import DamagedError, InputError, RecipeError
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from tests.cli.here import synth

EVIL = "Name \x1b]0;x\x07 a \u202eriver\x9b31m [bold]now[/bold]."


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    rows = [{"instruction": EVIL, "input": EVIL, "output": "one\ntwo"}] * 2
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = Options(recipe="dedup", out=str(tmp_path / "run"), input=str(tmp_path / "rows.jsonl"))
    execute(prepare(options), lambda event: None)
    return tmp_path / "run"


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.cli.look\n"
        "print(sorted({'polars', 'pyarrow', 'pydantic', 'openai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout.decode().strip() == "[]", done.stderr


def test_status_shows_every_stage_with_what_it_dropped(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look.status(str(small_run))
    text = capsys.readouterr().out
    run = open_run(small_run)
    for state in run.stage_manifests:
        row = next(line for line in text.splitlines() if line.startswith(f"{state.name} "))
        assert row.split()[1:5] == [
            "complete",
            str(state.candidates),
            str(state.kept),
            str(state.dropped),
        ]
    assert f"not_novel {run.stage('bootstrap').dropped_by_reason['not_novel']}" in text
    assert "teacher offline" in text
    assert "label balance" in text
    assert f"next: synth show {small_run}" in text


def test_status_as_json_says_the_same(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look.status(str(small_run), as_json=True)
    tree = json.loads(capsys.readouterr().out)
    run = open_run(small_run)
    assert tree["status"] == "finished"
    assert tree["kept"] == run.manifest.kept
    assert [stage["name"] for stage in tree["stages"]] == list(run.stages)
    usage = run.stage("bootstrap").usage[0]
    assert tree["stages"][0]["requests"] == usage.requests
    assert tree["stages"][0]["input_tokens"] == usage.input_tokens
    assert 0 <= tree["stages"][2]["measures"]["label_balance"] <= 1


@pytest.mark.parametrize("is_at_work", [True, False])
def test_status_of_a_run_that_works_or_was_cut_off(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_at_work: bool
) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    state = json.loads((run / "run.json").read_text()) | {"status": "running", "seconds": 0.0}
    (run / "run.json").write_text(json.dumps(state))
    if is_at_work:
        with locked(run):
            look.status(str(run))
    else:
        look.status(str(run))
    text = capsys.readouterr().out
    if is_at_work:
        assert f"it is at work (process {os.getpid()})" in text
    else:
        assert "cut off" in text
        assert "start the same command again" in text
    assert "0.0 s" not in text, "how long it was at work is said at its end"


def test_status_of_a_stalled_run_says_what_to_look_at(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    for name, change in (
        ("run.json", {"status": "stopped"}),
        ("stages/01-bootstrap/stage.json", {"complete": False, "stopped": "stalled"}),
    ):
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | change))
    look.status(str(run))
    assert f"synth show {run} bootstrap --dropped" in capsys.readouterr().out


def test_show_prints_the_first_rows_of_the_last_stage(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look.show(str(small_run), limit=3)
    out, err = capsys.readouterr()
    kept = open_run(small_run).kept()
    shown = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert shown == kept["row_id"][:3].to_list()
    assert err == f"3 of {kept.height} rows kept by dedup.\n"


def test_show_dropped_without_a_stage_takes_those_of_all_stages(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(small_run)
    dropped = {state.name: state.dropped for state in run.stage_manifests if state.dropped}
    assert len(dropped) > 1
    look.show(str(small_run), dropped=True, limit=10_000, as_json=True)
    out, _ = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert Counter(row["drop_stage"] for row in rows) == dropped
    assert {row["row_id"] for row in rows if row["drop_stage"] == "bootstrap"} == set(
        run.dropped("bootstrap")["row_id"]
    )
    look.show(str(small_run), dropped=True, where="drop_stage = 'bootstrap'", limit=1)
    out, err = capsys.readouterr()
    assert "  stage        bootstrap\n  dropped      " in out
    total = f"1 of {dropped['bootstrap']} rows dropped by {', '.join(dropped)} that match.\n"
    assert err == total


def test_show_dropped_says_why(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look.show(str(small_run), "bootstrap", dropped=True, where="drop_reason = 'not_novel'", limit=2)
    out = capsys.readouterr().out
    assert out.count("  dropped      not_novel: ROUGE-L 0.") == 2
    assert out.count("  it met       ") == 2


def test_show_cuts_texts_to_the_width_unless_full(
    small_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    look.show(str(small_run))
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 60
    look.show(str(small_run), full=True)
    out = capsys.readouterr().out
    for text in open_run(small_run).kept()["instruction"][:10]:
        assert text.split("\n")[0] in out


def test_show_says_how_a_row_was_rated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"instruction": "Name a fruit.", "output": "A fig.", "rating": 4.5}'
    )
    options = Options(recipe="keep", out=str(tmp_path / "run"), input=str(tmp_path / "rows.jsonl"))
    execute(prepare(options), lambda event: None)
    look.show(str(tmp_path / "run"))
    assert "  rating       4.5\n" in capsys.readouterr().out


def test_show_has_conversations_and_both_answers_of_a_pair(tmp_path: Path) -> None:
    turns = [("user", "Hi."), ("assistant", "Ho."), ("user", "And?"), ("assistant", "No.\x1b[0m")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (tmp_path / "talk.jsonl").write_text(json.dumps(row) + "\n")
    pair = {"prompt": "Greet.", "completion": "Hello.", "rejected": "Go away."}
    (tmp_path / "pair.jsonl").write_text(json.dumps(pair) + "\n")
    for name in ("talk", "pair"):
        options = Options(
            recipe="dedup", out=str(tmp_path / name), input=str(tmp_path / f"{name}.jsonl")
        )
        execute(prepare(options), lambda event: None)
    shown = synth("show", tmp_path / "talk", "--full").out
    assert "  conversation user: Hi.\n" in shown
    assert shown.endswith("assistant: No.\\x1b[0m\n")
    assert "  other output Go away.\n" in synth("show", tmp_path / "pair").out


def test_show_where_takes_sql(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look.show(
        str(small_run), where="nearest_score > 0.3 AND is_classification", as_json=True, limit=999
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows
    assert all(row["nearest_score"] > 0.3 and row["is_classification"] for row in rows)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "nothing > 1",
        "nearest_score +",
        "nearest_score",
        "((",
        "nearest_score > 'a'",
        "f(1)",
        ";",
    ],
)
def test_a_condition_that_cannot_be_used_is_refused_with_the_columns(
    small_run: Path, where: str
) -> None:
    with pytest.raises(RecipeError, match="the columns are row_id, origin") as caught:
        look.show(str(small_run), where=where)
    assert caught.value.exit_code == 2
    assert str(caught.value).count("nearest_id") == 1


@pytest.mark.parametrize(
    "where",
    [
        "CAST(instruction AS INT) > 3",
        "instruction > 5",
        "requests = 'a'",
        "shown = 3",
        "CAST(instruction AS DATE) > '2020-01-01'",
        "not instruction",
        "UNNEST(shown) = 'x'",
        "STRPTIME(instruction, '%Q') > 3",
    ],
)
def test_a_condition_that_fails_on_values_is_no_damage(small_run: Path, where: str) -> None:
    done = synth("show", small_run, "--where", where)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"synth: --where {where}: ")
    assert done.err.count("\n") == 1
    assert "the columns are row_id, origin" in done.err


def test_a_sample_comes_from_all_over_and_is_the_same_each_time(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for _ in range(2):
        look.show(str(small_run), sample=8, as_json=True)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    ids = [json.loads(line)["row_id"] for line in texts[0].splitlines()]
    all_ids = open_run(small_run).kept()["row_id"].to_list()
    assert ids == sorted(ids, key=all_ids.index)
    assert len(set(ids)) == 8
    assert ids != all_ids[:8]


def test_a_sample_larger_than_what_is_there_is_all_of_it(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look.show(str(small_run), sample=10_000, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == open_run(small_run).manifest.kept


def test_a_sample_has_no_pages(small_run: Path) -> None:
    with pytest.raises(RecipeError, match="--sample draws some"):
        look.show(str(small_run), sample=8, page=2)


def test_show_of_no_rows_says_so(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look.show(str(small_run), where="nearest_score > 2")
    assert capsys.readouterr() == ("", "0 rows kept by dedup that match.\n")


@pytest.mark.parametrize("arguments", [{}, {"full": True}, {"as_json": True}, {"dropped": True}])
def test_no_byte_of_the_data_reaches_the_terminal_as_control(
    evil: Path, capsys: pytest.CaptureFixture[str], arguments: dict[str, bool]
) -> None:
    look.show(str(evil), **arguments)  # type: ignore[arg-type]  # all of them are flags
    look.why(str(evil), "import-000001-00")
    look.why(str(evil), "import-000001-00", as_json=True)
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x07\u202e\x9b")
    assert "[bold]" in out  # markup is text


def test_json_rows_are_the_rows(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look.show(str(evil), as_json=True)
    assert json.loads(capsys.readouterr().out) == open_run(evil).kept().to_dicts()[0]


def test_why_prints_the_history(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row_id = open_run(small_run).kept()["row_id"][0]
    look.why(str(small_run), row_id)
    assert capsys.readouterr().out.startswith(f"{row_id}: kept\n")


def test_why_refuses_a_row_that_is_not_there(small_run: Path) -> None:
    with pytest.raises(InputError, match="there are"):
        look.why(str(small_run), "bootstrap-999999-00")


def test_verify_says_that_a_whole_run_is_whole(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look.verify(str(small_run))
    assert f"{small_run} is whole: " in capsys.readouterr().out


def test_a_shard_that_cannot_be_read_is_damage(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    (run / "stages/05-dedup/kept/part-00000.parquet").write_bytes(b"not parquet")
    with pytest.raises(DamagedError, match="synth verify"):
        look.show(str(run))


def test_exit_codes_and_streams_of_the_command(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    (run / "stages/05-dedup/kept/part-00000.parquet").unlink()
    damaged = synth("verify", str(run))
    assert (damaged.code, damaged.out) == (6, "")
    assert "05-dedup/kept/part-00000.parquet" in damaged.err
    assert synth("show", str(small_run), "--where", "x > 1").code == 2
    assert synth("status", str(tmp_path)).code == 2
    shown = synth("show", str(small_run), "bootstrap", "--dropped", "--sample", "2", "--json")
    assert shown.code == 0
    assert len([json.loads(line) for line in shown.out.splitlines()]) == 2


def test_show_turns_pages(small_run: Path) -> None:
    ids = open_run(small_run).kept("dedup")["row_id"].to_list()
    done = synth("show", str(small_run), "--limit", "7", "--page", "3", "--json")
    assert [json.loads(line)["row_id"] for line in done.out.splitlines()] == ids[14:21]
    shown = synth("show", str(small_run), "--limit", "7", "--page", "3").err
    assert f"15 to 21 of {len(ids)} rows" in shown
    beyond = synth("show", str(small_run), "--limit", "7", "--page", "99")
    assert (beyond.code, beyond.out) == (0, "")
    assert f"no more of {len(ids)} rows" in beyond.err


def test_show_prints_a_table_that_fits(small_run: Path, evil: Path) -> None:
    done = synth("show", str(small_run), "--columns", "row_id, nearest_score,instruction,input")
    head, *lines = done.out.splitlines()
    assert head.split() == ["row_id", "nearest_score", "instruction", "input"]
    rows = open_run(small_run).kept("dedup").head(10)
    assert [line.split()[0] for line in lines] == rows["row_id"].to_list()
    assert f"{rows['nearest_score'][0]:.6g}" in lines[0]
    assert all(len(line) <= 80 for line in lines)
    assert {
        line.index(f"{score:.6g}") for line, score in zip(lines, rows["nearest_score"], strict=True)
    } == {head.index("nearest_score")}
    shown = synth("show", str(evil), "--columns", "row_id,instruction").out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    wrong = synth("show", str(small_run), "--columns", "row_id,nothing")
    assert wrong.code == 2
    assert "there is no column nothing; there are row_id" in wrong.err
