"""Sheets for people to mark: drawn, opened by a spreadsheet, read back, kept, compared."""

import csv
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline import open_run
from pipeline.cli.commands import app
from pipeline.errors import InputError, RecipeError
from pipeline.review import agreement, books, cells, sheet
from pipeline.run import export_file
from pipeline.run.purge import purge
from pipeline.run.repair import repair
from pipeline.verify import recount, verify
from tests.conftest import RunSynth
from tests.soaked import REASON, SOAK

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
SIGNS = "=+-@＝＋－＠"
BEFORE = (
    "",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\u00a0",
    "\u3000",
    "\ufeff",
    "\u200b",
    "\v \u2060",
)
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "' a", " =1", "1/2",
           "007", "TRUE", "a;b,c\td", 'say "x"', "two\nlines", "two\r\nlines", ""]  # fmt: skip

Line = dict[str, str]


def drawn(run: Path, folder: Path, most: int = 40) -> Path:
    found = open_run(run)
    path, _ = sheet.write(folder, sheet.draw(found, "row", most, 1), "row", 1)
    return path


def lines_of(path: Path) -> list[Line]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def saved(path: Path, lines: list[Line], delimiter: str = ",") -> Path:
    """As a spreadsheet saves it."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(lines[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(lines)
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    return path


def marked(lines: list[Line], verdict: Callable[[int], str], who: str = "Ada") -> list[Line]:
    return [line | {"verdict": verdict(at), "reviewer": who} for at, line in enumerate(lines)]


@given(TEXT | st.sampled_from(HOSTILE))
def test_a_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    found = cells.cell(text)
    assert found[:1] not in cells.FORMULA_STARTS
    assert cells.text_of(found) == text
    content = cells.write(["row_id", "text"], [["a", found]])
    _, [(_, (_, back))] = cells.read(content, ["row_id"], where="x")
    assert cells.text_of(back) == text


@pytest.mark.parametrize("write", [cells.cell, export_file.cell], ids=["review", "export"])
def test_no_cell_of_either_file_begins_as_a_formula(write: Callable[[str], str]) -> None:
    texts = [f"{before}{sign}HYPERLINK(1)" for before in BEFORE for sign in SIGNS]
    texts += [*"\t\r\n\0", *(f"{one}x" for one in "\t\r\n\0")]
    assert [write(text) for text in texts] == [f"'{text}" for text in texts]


@pytest.mark.parametrize(
    "text", ["1" * 60, "12345678901234567890", "1,5", "1.1.2026", "3 / 4", "-"]
)
def test_what_looks_like_a_number_is_a_text_on_a_sheet(text: str) -> None:
    assert cells.cell(text) == f"'{text}"
    assert cells.text_of(cells.cell(text)) == text


@given(st.lists(TEXT, min_size=1, max_size=4), st.sampled_from(",;\t"), st.booleans())
def test_what_a_spreadsheet_saves_is_read(texts: list[str], mark: str, is_wide: bool) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=mark)
    writer.writerow(["row_id", "text"])
    writer.writerows([[f"r{n}", cells.cell(text)] for n, text in enumerate(texts)])
    content = out.getvalue().encode("utf-16" if is_wide else "utf-8")
    header, rows = cells.read(content, ["row_id", "text"], where="x")
    assert header == ["row_id", "text"]
    assert [cells.text_of(row[1]) for _, row in rows] == texts


def test_a_long_text_is_cut_at_what_a_cell_holds() -> None:
    assert len(cells.cell("a" * 30_000)) == 30_000
    cut = cells.cell("a" * 30_001)
    assert (len(cut), cut[-6:]) == (30_000, cells.CUT)


def test_a_sheet_has_rows_of_every_rule_and_says_of_none_whether_it_was_kept(
    small_run: Path, tmp_path: Path
) -> None:
    run = open_run(small_run)
    rows = sheet.draw(run, "row", 40, 1)
    assert 30 <= rows.height <= 40
    reasons = {(s, r) for s, r in sheet.ended(run).select("stage", "drop_reason").iter_rows()}
    assert {(s, r) for s, r in rows.select("stage", "drop_reason").iter_rows()} == reasons
    assert rows.equals(sheet.draw(run, "row", 40, 1))
    assert not rows.equals(sheet.draw(run, "row", 40, 2))
    assert rows["is_kept"].to_list() != sorted(rows["is_kept"], reverse=True)
    path = drawn(small_run, tmp_path / "out")
    assert list(lines_of(path)[0]) == ["row_id", *sheet.TEXTS["row"], *sheet.MARKS]
    assert len(sheet.draw(run, "row", 10**6, 1)) == sheet.ended(run).height
    assert set(sheet.draw(run, "row", 20, 1, "filter")["stage"]) == {"filter"}


def test_a_sheet_that_is_there_is_not_written_over(small_run: Path, tmp_path: Path) -> None:
    drawn(small_run, tmp_path)
    with pytest.raises(RecipeError, match="may be marked"):
        drawn(small_run, tmp_path)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_verdicts_are_read_kept_and_counted(small_copy: Path, tmp_path: Path, mark: str) -> None:
    lines = lines_of(drawn(small_copy, tmp_path))
    words = ("good", "Bad ", "unsure", "")
    given = marked(lines, lambda at: words[at % 4])
    path = saved(tmp_path / "marked.csv", given, mark)
    before = recount(small_copy)
    run = open_run(small_copy)
    marks = sheet.read(path, run)
    assert len(marks) == sum(line["verdict"] != "" for line in given)
    assert books.add(small_copy, marks, path.read_bytes())
    assert not books.add(small_copy, marks, path.read_bytes())
    found = {mark.row_id: mark.verdict for mark in marks}
    kept = books.verdicts(small_copy)
    assert dict(kept.select("row_id", "verdict").iter_rows()) == found
    assert set(kept["reviewer"]) == {"Ada"}
    after = verify(small_copy)
    assert (after.files, after.rows) == (before.files + 1, before.rows + len(marks))


def test_a_sheet_of_a_stage_is_read_as_one(small_copy: Path, tmp_path: Path) -> None:
    run = open_run(small_copy)
    sheet.write(tmp_path, sheet.draw(run, "row", 30, 1, "bootstrap"), "row", 1)
    given = marked(lines_of(tmp_path / "sheet.csv"), lambda at: "good")
    path = saved(tmp_path / "marked.csv", given)
    marks = sheet.read(path, run, stage="bootstrap")
    assert len(marks) == len(given) > 20
    with pytest.raises(InputError, match="nothing of it was taken"):
        sheet.read(path, run)
    assert books.add(small_copy, marks, path.read_bytes())
    recount(small_copy)


def test_parquet_is_read_as_well(small_run: Path, tmp_path: Path) -> None:
    drawn(small_run, tmp_path)
    table = pq.read_table(tmp_path / "sheet.parquet")
    place = table.schema.get_field_index("verdict")
    words = ["good"] * 3 + [None] * (table.num_rows - 3)
    pq.write_table(table.set_column(place, "verdict", pa.array(words)), tmp_path / "m.parquet")
    marks = sheet.read(tmp_path / "m.parquet", open_run(small_run), "Grace")
    assert [(mark.verdict, mark.reviewer) for mark in marks] == [("good", "Grace")] * 3


def test_all_that_is_wrong_is_named_by_line_and_column(small_run: Path, tmp_path: Path) -> None:
    lines = marked(lines_of(drawn(small_run, tmp_path)), lambda at: "good")
    lines[0]["verdict"] = "godo"
    lines[1]["row_id"] = "nobody"
    lines[2]["instruction"] += " changed"
    lines[3]["reviewer"] = ""
    lines[4]["time"] = "yesterday"
    lines.append(lines[5])
    lines[6]["time"] = "2026-01-31 10:00"
    path = saved(tmp_path / "wrong.csv", lines)
    at = [2]  # lines of the file, not rows: a cell may have several
    for line in lines:
        at.append(at[-1] + 1 + sum(cell.count("\n") for cell in line.values()))
    with pytest.raises(InputError) as caught:
        sheet.read(path, open_run(small_run))
    said = str(caught.value)
    assert f"line {at[0]}, column verdict: 'godo' is no verdict: good, bad, unsure" in said
    assert f"line {at[1]}, column row_id: the run has no row 'nobody'" in said
    assert f"line {at[2]}, column instruction: it is not the text of the run" in said
    assert f"line {at[3]}, column reviewer: nobody is named" in said
    assert f"line {at[4]}, column time: 'yesterday' is no time" in said
    assert "column row_id: Ada has marked this row in line" in said
    assert said.count("\n- ") == 6


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n", "lacks the column"),
        (b"\xff\x00\x81", "not UTF-8"),
        (b"", "lacks the column"),
        (b"PAR1 and no more", "no Parquet file"),
        (b'row_id,instruction,verdict,reviewer,time,note\n"a"b,,,,,\n', "line 2: no CSV"),
    ],
)
def test_a_file_that_is_no_sheet_is_refused(
    small_run: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=says):
        sheet.read(tmp_path / "x", open_run(small_run))


def test_what_a_person_says_later_counts_and_a_tie_is_unsure(
    small_copy: Path, tmp_path: Path
) -> None:
    lines = lines_of(drawn(small_copy, tmp_path))[:3]
    run = open_run(small_copy)
    for number, (who, word) in enumerate([("Ada", "bad"), ("Ada", "good"), ("Bob", "bad")]):
        path = saved(tmp_path / f"{number}.csv", marked(lines, lambda at, w=word: w, who))
        books.add(small_copy, sheet.read(path, run), path.read_bytes())
    assert books.marks(small_copy).height == 6
    found = books.verdicts(small_copy)
    assert set(found["verdict"]) == {"unsure"}
    assert set(found["reviewer"]) == {"Ada, Bob"}
    said = list(agreement.lines(run))
    assert said[0] == "3 rows marked by 2 people (Ada, Bob), 0 unsure"
    assert "Ada with Bob: 0.0% of 3 rows agreed, kappa 0.00" in said


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_kappa_is_that_of_the_table(pairs: list[tuple[str, str]]) -> None:
    n = len(pairs)
    chance = sum(
        sum(a == word for a, _ in pairs) * sum(b == word for _, b in pairs) for word in "abc"
    )
    found = agreement.agreement("x", pairs)
    assert found is not None
    assert found.share == sum(a == b for a, b in pairs) / n
    if chance == n * n:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(
            (found.share - chance / n**2) / (1 - chance / n**2), abs=1e-9
        )


def test_a_purged_row_takes_its_verdicts_with_it(small_copy: Path, tmp_path: Path) -> None:
    lines = marked(lines_of(drawn(small_copy, tmp_path)), lambda at: "good")
    path = saved(tmp_path / "all.csv", lines)
    run = open_run(small_copy)
    books.add(small_copy, sheet.read(path, run), path.read_bytes())
    kept = run.kept()["row_id"].to_list()
    row = next(one for one in books.marks(small_copy)["row_id"] if one in kept)
    purge(small_copy, row=row, descendants=True)
    assert books.marks(small_copy).filter(pl.col("row_id") == row).height == 0
    assert books.marks(small_copy).height == len(lines) - 1
    verify(small_copy)
    with pytest.raises(InputError, match="has no row"):
        sheet.read(path, open_run(small_copy))


def test_verify_finds_verdicts_that_were_changed_and_repair_takes_them_out(
    small_copy: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    lines = marked(lines_of(drawn(small_copy, tmp_path)), lambda at: "good")
    path = saved(tmp_path / "all.csv", lines)
    books.add(small_copy, sheet.read(path, open_run(small_copy)), path.read_bytes())
    (small_copy / "reviews/other.parquet").write_bytes(b"x")
    file = small_copy / "reviews/000001.parquet"
    file.write_bytes(file.read_bytes()[:-4])
    said = "\n".join(recount(small_copy).findings)
    assert "reviews/000001.parquet" in said
    assert "reviews/other.parquet: reviews/reviews.json does not list it" in said
    assert any(
        "000001.parquet is lost: read the sheet" in line for line in repair(small_copy).lines
    )
    run_synth(small_copy, "bootstrap.target=60", "shard_rows=50")
    verify(small_copy)
    assert books.add(small_copy, sheet.read(path, open_run(small_copy)), path.read_bytes())
    assert books.marks(small_copy).height == len(lines)


def test_a_run_takes_verdicts_in_and_decides_by_them(
    small_copy: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    kept = open_run(small_copy).kept()["row_id"].to_list()
    lines = [
        line
        for line in lines_of(drawn(small_copy, tmp_path / "sheet"))
        if cells.text_of(line["row_id"]) in kept
    ]
    words = ("good", "bad", "unsure")
    path = saved(tmp_path / "m.csv", marked(lines, lambda at: words[at % 3]))
    marks = sheet.read(path, open_run(small_copy))
    plain = tmp_path / "plain"
    run_synth(plain, recipe="dedup", input=str(small_copy))
    assert "verdict" not in open_run(plain).kept().columns
    books.add(small_copy, marks, path.read_bytes())
    said = {mark.row_id: mark.verdict for mark in marks}
    decided = tmp_path / "decided"
    setting = "keep.verdicts={drop: [bad, unsure]}"
    run_synth(decided, setting, recipe="keep", input=str(small_copy))
    found = open_run(decided)
    assert found.kept()["row_id"].to_list() == [
        one for one in kept if said.get(one) not in ("bad", "unsure")
    ]
    assert dict(found.kept("import").select("row_id", "verdict").drop_nulls().iter_rows()) == said
    assert set(found.kept("import")["reviewer"].drop_nulls()) == {"Ada"}
    assert set(found.dropped()["drop_reason"]) == {"marked_bad", "marked_unsure"}
    verify(decided)
    run_synth(tmp_path / "again", recipe="dedup", input=str(decided))
    assert set(open_run(tmp_path / "again").kept()["verdict"].drop_nulls()) == {"good"}
    run_synth(decided, setting, recipe="keep", input=str(small_copy))


def test_without_verdicts_a_recipe_that_wants_them_is_refused(
    small_run: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="keep reads column 'verdict'"):
        run_synth(tmp_path / "x", "keep.verdicts={}", recipe="keep", input=str(small_run))


def pairs_run(tmp_path: Path) -> Path:
    from tests.conftest import run_and_recount

    lines = "".join(
        f'{{"instruction": "Say {n}.", "output": "It is {n}.", "other_output": "No {n}!"}}\n'
        for n in ("one", "two", "three", "four", "five", "six")
    )
    (tmp_path / "pairs.jsonl").write_text(lines)
    named = "import.columns={instruction: instruction, output: output, other_output: other_output}"
    out = tmp_path / "run"
    run_and_recount(out, named, recipe="dedup", input=str(tmp_path / "pairs.jsonl"))
    return out


def test_of_a_pair_nobody_sees_which_is_which(tmp_path: Path) -> None:
    run = open_run(pairs_run(tmp_path))
    rows = sheet.draw(run, "pair", 6, 1)
    path, _ = sheet.write(tmp_path / "out", rows, "pair", 1)
    lines = lines_of(path)
    firsts = {line["first"].startswith("It is") for line in lines}
    assert firsts == {True, False}
    given = [
        line | {"verdict": "first" if line["first"].startswith("It is") else "second"}
        for line in lines
    ]
    marks = sheet.read(saved(tmp_path / "m.csv", given), run, "Ada")
    assert [mark.verdict for mark in marks] == ["output"] * 6
    books.add(run.path, marks, b"x")
    assert books.verdicts(run.path).height == 0
    assert "preferred: output 6" in list(agreement.lines(run))


def test_answers_that_look_the_same_are_not_compared(tmp_path: Path) -> None:
    run = open_run(pairs_run(tmp_path))
    row = sheet.draw(run, "pair", 1, 1).row(0, named=True)
    for alike in (f"{row['output']}\n", f"{row['output']} \u200b"):
        rows = pl.DataFrame([row | {"other_output": alike}, row | {"row_id": "other"}])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sheet, "ended", lambda run, stage, rows=rows: rows)
            assert sheet.draw(run, "pair", 6, 1)["row_id"].to_list() == ["other"]
            shown = sheet.shown(rows.row(0, named=True), "pair", 1)
            line = {"row_id": row["row_id"], **shown, "verdict": "first", "reviewer": "Ada"}
            given = saved(tmp_path / "m.csv", [line | {"time": "", "note": ""}])
            with pytest.raises(InputError, match="the two answers look the same"):
                sheet.read(given, run)


def test_without_two_answers_there_is_nothing_to_compare(small_run: Path) -> None:
    with pytest.raises(InputError, match="has two answers"):
        sheet.draw(open_run(small_run), "pair", 5, 1)


def test_the_command_writes_reads_and_says_how_far_they_agree(
    small_copy: Path, tmp_path: Path
) -> None:
    ask = CliRunner()
    out = tmp_path / "out"
    given = ["review", str(small_copy)]
    done = ask.invoke(app, [*given, "--sample", "20", "--out", str(out)])
    assert done.exit_code == 0
    assert done.stdout.split() == [str(out / "sheet.csv"), str(out / "sheet.parquet")]
    assert "put good, bad, unsure or nothing" in done.stderr
    kept = set(open_run(small_copy).kept()["row_id"])
    lines = lines_of(out / "sheet.csv")
    for line in lines:
        line["verdict"] = "good" if cells.text_of(line["row_id"]) in kept else "bad"
    path = saved(out / "sheet.csv", lines, ";")
    done = ask.invoke(app, [*given, "--read", str(path), "--reviewer", "Ada"])
    assert done.exit_code == 0, done.output
    assert f"with the rules (good: kept): 100.0% of {len(lines)} verdicts agreed, kappa 1.00" in (
        done.stdout
    )
    assert "dropped by bootstrap, not_novel: " in done.stdout
    again = ask.invoke(app, [*given, "--read", str(path), "--reviewer", "Ada"])
    assert "that sheet was read before" in again.stderr


@pytest.mark.skipif(not SOAK, reason=REASON)
@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libreoffice_takes_no_cell_for_a_formula(tmp_path: Path) -> None:
    texts = [*HOSTILE, '=HYPERLINK("http://x")', "=cmd|'/C calc'!A0", "1e5", "1.1.2026", "1" * 60]
    texts += [f"{before}{sign}1" for before in BEFORE if before != "\0" for sign in SIGNS]
    rows = [[f"r{n}", cells.cell(text)] for n, text in enumerate(texts)]
    exported = [[f"r{n}", export_file.cell(text)] for n, text in enumerate(texts)]
    (tmp_path / "export.csv").write_bytes(cells.write(["row_id", "text"], exported))
    (tmp_path / "bare.csv").write_bytes(cells.write(["row_id", "text"], [["a", "=1+1"]]))
    (tmp_path / "in.csv").write_bytes(cells.write(["row_id", "text"], rows))
    filters = "CSV:44,34,76,1,,1033,false,true"
    for form in ("fods", "csv:Text - txt - csv (StarCalc):44,34,76,1,,1033,true,true"):
        subprocess.run(
            ["soffice", "--headless", f"-env:UserInstallation=file://{tmp_path}/profile",
             f"--infilter={filters}", "--convert-to", form, "--outdir", str(tmp_path / "out"),
             *(str(tmp_path / name) for name in ("in.csv", "bare.csv", "export.csv"))],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    assert "table:formula" in (tmp_path / "out/bare.fods").read_text("utf-8")
    assert "table:formula" not in (tmp_path / "out/export.fods").read_text("utf-8")
    flat = (tmp_path / "out/in.fods").read_text("utf-8")
    assert 'office:value-type="string"' in flat
    assert "table:formula" not in flat
    assert 'office:value-type="float"' not in flat
    assert 'office:value-type="date"' not in flat
    _, found = cells.read((tmp_path / "out/in.csv").read_bytes(), ["row_id"], where="x")
    back = {row[0]: row[1] for _, row in found}
    for n, text in enumerate(texts):
        assert cells.as_shown(cells.text_of(back[f"r{n}"])) == cells.as_shown(text), text
