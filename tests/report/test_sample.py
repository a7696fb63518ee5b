"""Which rows stand on a page, and how much of their texts."""

import random
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.cli.commands import run as run_command
from pipeline.errors import InputError
from pipeline.report import page, sample
from tests.report.runs import made_run
from tests.report.test_page import unpacked

pytest.importorskip("plotly", reason="the extra 'report' is not installed")


def many_rules(out: Path, rules: int = 30, each: int = 20) -> Path:
    """A run with more rules than a small page has rows."""
    kept = [{"row_id": f"k-{n}", "instruction": "Count."} for n in range(200)]
    dropped = [
        {"row_id": f"d-{n}", "instruction": "Count.", "drop_reason": f"rule_{n % rules}"}
        for n in range(rules * each)
    ]
    return made_run(out, {"import": (kept, dropped)})


def on_page(path: Path) -> list[list[dict[str, Any]]]:
    return [one["rows"] for one in unpacked(path.read_text())["runs"]]


@pytest.mark.parametrize(("most", "strata", "least"), [(7, 7, 1), (31, 31, 1), (100, 31, 3)])
def test_a_page_has_as_many_rows_as_were_asked_for_and_every_rule_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, strata: int, least: int
) -> None:
    run = many_rules(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["synth", "report", str(run), "--rows", str(most)])
    assert run_command() == 0
    text = (tmp_path / "report-run.html").read_text()
    assert f"A sample of {most} of the 800 rows" in text
    (rows,) = on_page(tmp_path / "report-run.html")
    assert len(rows) == most
    rules = [row.get("drop_reason") for row in rows]
    assert len(set(rules)) == strata
    assert min(map(rules.count, set(rules))) == least
    said = "some rules have none here" if most < 31 else f"at least {least} where it has them"
    assert said in text


def test_two_runs_share_the_rows_and_none_is_left_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = made_run(tmp_path / "small", {"import": ([{"row_id": "a-1"}] * 3, [])})
    runs = [str(many_rules(tmp_path / "run")), str(small)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["synth", "report", *runs, "--rows", "101", "--out", "x.html"])
    assert run_command() == 0
    assert list(map(len, on_page(tmp_path / "x.html"))) == [98, 3]
    monkeypatch.setattr("sys.argv", ["synth", "report", *runs, "--rows", "1", "--out", "y.html"])
    assert run_command() == 2
    assert "2 runs do not fit on a page of 1 rows" in capsys.readouterr().err
    assert not (tmp_path / "y.html").exists()
    with pytest.raises(InputError, match="ask for more"):
        sample.of_runs([open_run(runs[0])], 0)


def noise(n: int, seed: int) -> str:
    """Text that nothing packs well."""
    return "".join(map(chr, random.Random(seed).choices(range(0x4E00, 0x9FA5), k=n)))


def test_long_texts_are_cut_so_that_the_page_stays_small(tmp_path: Path) -> None:
    long = noise(60_000, 0)
    rows = [
        {"row_id": f"a-{n}", "instruction": long[n:], "output": long[-n - 9000 :],
         "messages": [{"role": "user", "content": long[turn * 1000 + n :][:1000]}
                      for turn in range(40)]}
        for n in range(60)
    ]  # fmt: skip
    run = open_run(made_run(tmp_path / "run", {"import": (rows, [])}))
    whole = page.render([run])
    assert "Texts are cut after 4,000 characters" in whole
    assert "so that the page stays below" not in whole
    of_page = len(page.render([run], most_rows=1).encode())
    small = page.render([run], most_bytes=of_page + 600_000)
    assert len(small.encode()) <= of_page + 600_000 < len(whole.encode())
    assert "so that the page stays below" in small
    (found,) = unpacked(small)["runs"]
    assert len(found["rows"]) == 60
    row = found["rows"][3]
    length = len(row["output"])
    assert length in page.LENGTHS[1:]
    assert row["output"] == rows[3]["output"][:length]
    assert row["cut"]["output"] == [9003 - length, 0]
    turns = row["messages"]
    assert sum(len(one["content"]) for one in turns) <= sample.LISTED * length
    assert row["cut"]["messages"][1] == 40 - len(turns) > 0
    shown = sum(len(one["role"]) + len(one["content"]) for one in turns) + len(turns)
    assert row["cut"]["messages"][0] == 40 * 1005 - shown


def test_where_shorter_texts_do_not_do_there_are_fewer_rows(tmp_path: Path) -> None:
    rows = [{"row_id": f"a-{n}-{noise(300, n)}", "instruction": "x"} for n in range(400)]
    run = open_run(made_run(tmp_path / "run", {"import": (rows, [])}))
    of_page = len(page.render([run], most_rows=1).encode())
    small = page.render([run], most_bytes=of_page + 150_000)
    assert len(small.encode()) <= of_page + 150_000
    (found,) = unpacked(small)["runs"]
    assert len(found["rows"]) in (100, 200)
    assert "There are fewer than were asked for, so that the page stays below" in small


def test_a_row_that_is_cut_twice_says_all_that_is_left_out() -> None:
    row = {
        "row_id": "a" * 99,
        "output": "x" * 50,
        "answers": [{"source": "a", "text": "y" * 60}] * 9,
    }
    once = sample.shortened(sample.shortened(row, 20), 5)
    assert once == sample.shortened(row, 5)
    assert once["row_id"] == row["row_id"]
    assert once["cut"] == {"output": [45, 0], "answers": [9 * 62 - 25, 8]}
    assert sample.shortened({"output": "x" * 50}, 50) == {"output": "x" * 50}


def test_numbers_that_json_cannot_say_come_as_words(tmp_path: Path) -> None:
    rows = [{"row_id": "a-1", "perplexity": float("inf"), "rating": 2.0,
             "evaluations": [{"model": "base", "loss": float("nan"), "tokens": 3}]}]  # fmt: skip
    run = open_run(made_run(tmp_path / "run", {"import": (rows, [])}))
    ((row,),) = (one["rows"] for one in unpacked(page.render([run]))["runs"])
    assert (row["perplexity"], row["rating"]) == ("inf", 2.0)
    assert row["evaluations"] == [{"model": "base", "loss": "nan", "tokens": 3}]


def test_every_column_of_the_schema_but_vectors_is_shown(tmp_path: Path) -> None:
    rows = [{"row_id": "a-1", "pair_rating": 4, "agreement": 0.5, "verdict": "good",
             "embedding": [0.5], "threat": 0.25, "later_score": 1.5, "drop_similarity": 0.75,
             "drop_reason": "alike"}]  # fmt: skip
    found = dict(sample.shown_columns([open_run(
        made_run(tmp_path / "run", {"import": ([], rows)}))]))  # fmt: skip
    scores = [name for name, is_number in found.items() if is_number]
    assert scores == ["agreement", "pair_rating", "threat", "drop_similarity", "later_score"]
    assert found["verdict"] is False
    assert "embedding" not in found
