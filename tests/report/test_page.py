"""The file itself: one page, escaped, that allows its own scripts and nothing else."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.cli.commands import run as run_command
from pipeline.report import page
from tests.report.payloads import PAYLOADS
from tests.report.runs import NAME, made_run

plotly = pytest.importorskip("plotly", reason="the extra 'report' is not installed")


def unpacked(text: str) -> Any:
    """The data of a page."""
    found = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


@pytest.fixture(scope="module")
def small_page(small_run: Path) -> str:
    return page.render([open_run(small_run)])


def test_every_row_stands_in_it_once_as_it_ended(small_run: Path, small_page: str) -> None:
    run = open_run(small_run)
    (found,) = unpacked(small_page)["runs"]
    dropped = {
        (stage, row["row_id"], row["drop_reason"])
        for stage in run.stages
        if run.stage(stage).exported is None
        for row in run.dropped(stage).iter_rows(named=True)
    }
    assert {
        (row["stage"], row["row_id"], row["drop_reason"])
        for row in found["rows"]
        if not row["is_kept"]
    } == dropped
    kept = {row["row_id"]: row for row in found["rows"] if row["is_kept"]}
    last = run.kept("dedup")
    assert list(kept) == last["row_id"].to_list()
    assert [row["output"] for row in kept.values() if "output" in row] == [
        text for text in last["output"] if text
    ]
    assert len(found["rows"]) == len(kept) + len(dropped)
    assert f"All {len(found['rows'])} rows, kept and dropped" in small_page
    referred = {row["parent_id"] for row in found["rows"] if "parent_id" in row}
    assert referred - {row["row_id"] for row in found["rows"]} <= found["others"].keys()


def test_the_funnel_adds_up(small_run: Path, small_page: str) -> None:
    figure = unpacked(small_page)["figures"][0]
    stages = open_run(small_run).funnel()
    for at, (_, candidates, kept, dropped, _) in enumerate(stages.iter_rows()):
        drawn = {bar["name"]: bar["x"][at] for bar in figure["data"]}
        assert drawn.pop("kept") == kept
        assert sum(drawn.values()) == dropped
        assert kept + dropped == candidates


def test_a_sample_is_the_same_each_time_and_of_every_rule(small_run: Path) -> None:
    run = open_run(small_run)
    some, again, whole = (
        unpacked(page.render([run], most_rows=most))["runs"][0]["rows"] for most in (40, 40, 9999)
    )
    assert some == again
    assert len(some) == 40 < len(whole)
    assert all(row in whole for row in some)
    rules, of_all = ({row.get("drop_reason") for row in rows} for rows in (some, whole))
    assert rules == of_all


def test_two_runs_stand_side_by_side(small_run: Path, hostile: Path) -> None:
    text = page.render([open_run(small_run), open_run(hostile)])
    first, second = unpacked(text)["runs"]
    assert (first["name"], second["name"]) == ("run", NAME)
    assert "&lt;img src=x onerror=window.hit=1&gt;" in text
    assert len(second["rows"]) == 150


def test_two_runs_of_one_name_are_told_apart(small_run: Path) -> None:
    runs = unpacked(page.render([open_run(small_run), open_run(small_run)], most_rows=10))["runs"]
    assert [one["name"] for one in runs] == ["run (1)", "run (2)"]


def test_the_page_of_a_run_that_was_cut_off_says_which_rows_it_counts(
    small_page: str, tmp_path: Path
) -> None:
    """What was kept and is in no shard yet stands in the table of stages alone."""
    rows = [{"row_id": "a-1", "instruction": "Say so."}]
    run = made_run(tmp_path / "run", {"import": (rows, [])}, complete=0, status="running")
    text = page.render([open_run(run)])
    assert "<dt>rows kept, in its shards</dt><dd>1</dd>" in text
    assert "<dt>at work</dt>" not in text, "a process that is killed does not say how long it was"
    assert "<dt>rows kept</dt>" in small_page
    assert "<dt>at work</dt>" in small_page


def test_nothing_of_the_data_is_html(hostile: Path) -> None:
    text = page.render([open_run(hostile)])
    static, _, _ = text.partition('<script type="text/plain"')
    for payload in PAYLOADS:
        if "<" in payload:
            assert payload not in static
    assert NAME not in static
    rows = unpacked(text)["runs"][0]["rows"]
    assert {row["instruction"] for row in rows} == set(PAYLOADS)
    assert "<script>window.hit=1</script>" in {row.get("drop_reason") for row in rows}


def test_the_policy_allows_the_scripts_of_the_page_alone(small_page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', small_page)
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", small_page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert len(scripts) == 2
    assert re.findall(r"sha256-([^&']*)", policy[1]) == hashes
    said = policy[1].replace("&#39;", "'")
    assert said.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in said


def test_the_command_writes_the_file(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["synth", "report", str(small_run)])
    assert run_command() == 0
    out, said = capsys.readouterr()
    assert out == "report-run.html\n"
    assert re.fullmatch(r"\d+\.\d MB: open it in a browser\.\n", said)
    assert (tmp_path / "report-run.html").read_text().startswith("<!doctype html>")


def test_what_is_no_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["synth", "report", str(tmp_path / "nowhere")])
    assert run_command() != 0
    assert "is not a run" in capsys.readouterr().err
