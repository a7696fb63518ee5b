"""The stage `format`: labelled rows as tasks, steps, demonstrations, and the books of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.near_duplicates.minhash import signatures
from filters.nearest import alike
from pipeline import format_templates, open_run
from pipeline.errors import InputError, RecipeError
from pipeline.format_templates import FormatFile
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.stage import Drop, Row
from pipeline.stages import format as format_stage
from pipeline.stages.export import side_number
from pipeline.stages.format_settings import Config, files
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books

SEED = 42
NOUNS = ("ferry", "harbour", "gull", "crew", "boat", "rope", "lamp", "tide", "quay", "net")
ZH = ("渡船", "港口", "海鸥", "船员", "渔船", "绳子", "灯塔", "潮水", "码头", "渔网")


def row(at: int, **given: Any) -> Row:
    noun, language = NOUNS[at % 10], ZH[at % 10]
    own = (f"Describe the {noun} number {at}.", f"The {noun} number {at} is blue.")
    if at % 4 == 3:
        own = (f"请描述第{at}个{language}。", f"第{at}个{language}是蓝色的。")
    found = {
        "row_id": f"r{at:03d}", "root_id": f"r{at:03d}", "instruction": own[0], "input": "",
        "output": own[1], "reasoning": f"Because of {at}." if at % 2 else None,
    }  # fmt: skip
    return found | given


def labelled(at: int, **given: Any) -> Row:
    texts = ("The {} was dreadful, number {}.", "The {} was lovely, number {}.")
    fields = {"text": texts[at % 2].format(NOUNS[at % 10], at), "label": str(at % 2)} | given
    return {
        "row_id": f"r{at:03d}", "root_id": f"r{at:03d}", "instruction": None, "input": None,
        "output": None, "fields": [{"name": n, "text": t} for n, t in fields.items()],
    }  # fmt: skip


def templates(config: Config) -> dict[str, FormatFile]:
    names = (name for task in files(config) for name in format_templates.names_of(task))
    return {name: format_templates.load(name) for name in names}


def made_of(rows: list[Row], **given: Any) -> list[list[Row | Drop]]:
    """What is made of each row."""
    config = Config.model_validate({"held_out": 0} | given)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    half = max(1, len(rows) // 2)
    plan = format_stage.plan(
        lambda: iter([frame[:half], frame[half:]]), config, SEED, templates(config)
    )
    return [format_stage.render(at, one, plan) for at, one in enumerate(rows)]


def kept_of(rows: list[Row], **given: Any) -> list[Row]:
    """All rows that are made, none of them dropped."""
    found = [entry for entries in made_of(rows, **given) for entry in entries]
    assert not [entry for entry in found if isinstance(entry, Drop)]
    return [entry for entry in found if not isinstance(entry, Drop)]


def task_of(made: Row) -> str:
    return str(made["templates"][0]).partition("/")[0]


def test_without_settings_rows_go_on_as_they_are() -> None:
    rows = [row(at) for at in range(5)]
    wanted = [{"row_id": one["row_id"], "templates": [], "demonstrations": []} for one in rows]
    assert kept_of(rows) == wanted


LABELS = {0: {"en": "bad", "zh": "差"}, 1: {"en": "good", "zh": "好"}}


def test_a_labelled_row_becomes_an_instruction() -> None:
    (made,) = kept_of([labelled(0)], tasks=["sentiment"], labels=LABELS, forms=["prefix"])
    assert made["instruction"] == (
        "Text: The ferry was dreadful, number 0.\nPossible labels: bad, good\nSentiment:"
    )
    assert (made["input"], made["output"]) == ("", "bad")
    assert made["templates"] == ["sentiment.en/labelled@1"]
    assert "row_id" not in made


def test_chinese_rows_get_chinese_templates_and_names() -> None:
    chinese = labelled(1, text="港口很美，人们都很友好。")
    given = {"tasks": ["sentiment"], "labels": LABELS, "forms": ["prefix"]}
    (made,) = kept_of([chinese], **given)
    assert made["instruction"].endswith("可选标签：差、好\n情感：")
    assert made["output"] == "好"
    (made,) = kept_of([chinese], language="en", **given)
    assert made["output"] == "good"


def test_several_templates_a_row_are_different_ones() -> None:
    for entries in made_of([labelled(at) for at in range(20)], tasks=["sentiment"], rows_a_row=7):
        names = [made["templates"][0] for made in entries if not isinstance(made, Drop)]
        assert len(set(names)) == len(names) == 7


def test_templates_are_drawn_evenly() -> None:
    made = kept_of([labelled(at) for at in range(700)], tasks=["sentiment"])
    counts = Counter(one["templates"][0] for one in made)
    assert len(counts) == 7
    assert min(counts.values()) > 60


def test_without_names_labels_are_said_as_they_are_and_listed() -> None:
    made = kept_of([labelled(at) for at in range(4)], tasks=["sentiment"], forms=["prefix"])
    assert "Possible labels: 0, 1\n" in made[0]["instruction"]


@pytest.mark.parametrize(("n", "is_listed"), [(50, True), (51, False)])
def test_too_many_labels_are_no_choice(n: int, is_listed: bool) -> None:
    rows = [labelled(at, label=f"label {at}") for at in range(n)]
    found = made_of(rows, tasks=["sentiment"], forms=["prefix"])
    reasons = {entry.reason for entries in found for entry in entries if isinstance(entry, Drop)}
    assert reasons == (set() if is_listed else {"too_many_labels"})


def test_fields_and_values_say_what_variables_are() -> None:
    made = kept_of(
        [labelled(0, de="Es regnet.", en="It rains.")],
        tasks=["translation"], forms=["prefix"], fields={"source": "de", "target": "en"},
        values={"source_language": {"en": "German", "zh": "德文"}, "target_language": "English"},
    )  # fmt: skip
    assert made[0]["instruction"] == "German: Es regnet.\nEnglish:"
    assert made[0]["output"] == "It rains."


@pytest.mark.parametrize(
    ("found", "given", "reason", "detail"),
    [
        (labelled(0, text=None), {}, "missing_field", "text: missing_field"),
        (labelled(0, text="  "), {}, "empty_text", "text: empty_text"),
        (labelled(0, label=None), {}, "missing_field", "label: missing_field"),
        (labelled(0, label="7"), {"labels": LABELS}, "unknown_label", "label: unknown_label"),
        (row(0, output=""), {"tasks": ["reverse"]}, "empty_text", "output: empty_text"),
        (labelled(0), {"tasks": ["order"]}, "text_does_not_suit", "order: text_does_not_suit"),
    ],
)
def test_a_row_that_no_template_suits_is_dropped_and_says_why(
    found: Row, given: dict[str, Any], reason: str, detail: str
) -> None:
    (drop,) = made_of([found], **{"tasks": ["sentiment"]} | given)[0]
    assert isinstance(drop, Drop)
    assert drop.reason == reason
    assert detail in drop.detail
    assert drop.row["row_id"] == "r000"


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"instruction": " "}, "empty_instruction"),
        ({"instruction": None}, "empty_instruction"),
        ({"output": "\n"}, "empty_output"),
        ({"output": None}, "empty_output"),
    ],
)
def test_a_row_with_nothing_to_ask_or_to_answer_is_dropped(
    texts: dict[str, str | None], reason: str
) -> None:
    (drop,) = made_of([row(0, **texts)])[0]
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.row["row_id"]) == (reason, "r000")


def test_conversations_go_on_as_they_are() -> None:
    turns = [{"role": role, "content": text} for role, text in
             (("user", "Describe the ferry number 0."),
              ("assistant", "The ferry number 0 is blue."), ("user", "Why?"))]  # fmt: skip
    rows = [row(0, messages=turns), *(row(at, messages=None) for at in (1, 2, 4, 5, 6))]
    found = made_of(rows, tasks=["reverse"], with_demonstrations=1.0)
    assert found[0] == [{"row_id": "r000", "templates": [], "demonstrations": []}]
    shown = {one for entries in found for made in entries if not isinstance(made, Drop)
             for one in made["demonstrations"]}  # fmt: skip
    assert shown
    assert "r000" not in shown


@given(st.integers(1, 40), st.floats(0, 1))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_the_share_of_tasks_is_exact_and_rows_can_go_on_beside_them(n: int, share: float) -> None:
    rows = [row(at) for at in range(n)]
    made = kept_of(rows, tasks=["reverse"], share=share)
    rendered = [one for one in made if one["templates"]]
    assert len(made) == n
    assert abs(len(rendered) - share * n) <= 0.5 + 1e-9
    assert all(task_of(one).startswith("reverse.") for one in rendered)
    both = kept_of(rows, tasks=["reverse"], share=share, keep_received=True)
    assert len(both) == n + len(rendered)


@given(st.integers(1, 40), st.floats(0, 1))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_the_share_with_steps_is_exact_and_none_are_made_up(n: int, share: float) -> None:
    rows = [row(at) for at in range(n)]
    made = kept_of(rows, with_steps=share)
    with_steps = [one for one in made if one["templates"]]
    has_some = sum(one["reasoning"] is not None for one in rows)
    assert abs(len(with_steps) - min(share * n, has_some)) <= 0.5 + 1e-9
    for one, own in zip(made, rows, strict=True):
        if one["templates"]:
            assert own["reasoning"]
            assert one["output"].startswith(own["reasoning"])
            assert one["output"].endswith(own["output"])
            assert one["instruction"] != own["instruction"]
            assert own["instruction"] in one["instruction"]


def test_steps_come_from_a_field_too_and_reversed_tasks_get_none() -> None:
    rows = [labelled(at, why=f"Because of {at}.") for at in range(10)]
    given = {"tasks": ["sentiment"], "with_steps": 1.0, "rationale": "why"}
    for made in kept_of(rows, forms=["plain"], **given):
        assert made["output"].startswith("Because of ")
        assert made["templates"][1].startswith("steps.en/")
    assert all(len(made["templates"]) == 1 for made in kept_of(rows, forms=["reversed"], **given))


@pytest.mark.parametrize("chosen", ["random", "similar", "diverse"])
@given(n=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_the_share_with_demonstrations_is_exact_and_nothing_leaks(
    chosen: str, n: int, share: float, seed: int
) -> None:
    rows = [row(at * (seed + 1)) | {"row_id": f"r{at:03d}"} for at in range(n)]
    rows += [row(0) | {"row_id": "same"}]  # the text of another row
    made = kept_of(rows, with_demonstrations=share, chosen=chosen, alike_at_most=1)
    by_id = {one["row_id"]: one for one in rows}
    kinds = Counter("第" in one["instruction"] for one in rows)
    texts = {"第" in one["instruction"]: set[str]() for one in rows}
    for one in rows:
        texts["第" in one["instruction"]].add(one["instruction"])
    can = sum(kinds[kind] for kind, found in texts.items() if len(found) > 1)
    shown = [one for one in made if one["demonstrations"]]
    assert abs(len(shown) - min(share * len(rows), can)) <= 0.5 + 1e-9
    for one, own in zip(made, rows, strict=True):
        names = one["demonstrations"]
        assert own["row_id"] not in names
        assert len(names) == len(set(names)) <= 3
        others = [by_id[name] for name in names]
        assert own["instruction"] not in [other["instruction"] for other in others]
        if names:
            assert one["output"] == own["output"]
            assert own["output"] not in one["instruction"]
            places = [one["instruction"].index(other["output"]) for other in others]
            assert places == sorted(places)
            assert one["instruction"].rindex(own["instruction"]) > max(places)


@pytest.mark.parametrize("chosen", ["random", "similar", "diverse"])
def test_the_most_similar_demonstration_is_the_last(chosen: str) -> None:
    rows = [row(at) for at in range(0, 400, 4)]
    given = {
        "with_demonstrations": 1.0,
        "chosen": chosen,
        "fewest": 3,
        "most": 3,
        "alike_at_most": 1,
    }
    table = signatures([one["instruction"] for one in rows], ngram=1)
    at = {one["row_id"]: place for place, one in enumerate(rows)}
    for made, own in zip(kept_of(rows, **given), rows, strict=True):
        scores = alike(table[at[own["row_id"]]], table[[at[one] for one in made["demonstrations"]]])
        assert scores.tolist() == sorted(scores.tolist())
        if chosen == "similar":
            every = alike(table[at[own["row_id"]]], table)
            every[at[own["row_id"]]] = -1
            assert scores.tolist() == sorted(every.tolist())[-3:]


def test_vectors_are_compared_where_rows_have_some() -> None:
    directions = {0: [1.0, 0.0], 1: [0.9, 0.1], 2: [0.0, 1.0], 4: [0.1, 0.9]}
    rows = [row(at, embedding=vector) for at, vector in directions.items()]
    given = {"fewest": 1, "most": 1, "language": "en", "alike_at_most": 1}
    made = kept_of(rows, with_demonstrations=1.0, **given)
    assert [one["demonstrations"] for one in made] == [["r001"], ["r000"], ["r004"], ["r002"]]


def test_demonstrations_are_of_the_row_s_language_and_rendered_as_it_is() -> None:
    rows = [labelled(at) for at in range(30)]
    made = kept_of(rows, tasks=["sentiment"], labels=LABELS, with_demonstrations=1.0)
    for one in made:
        if one["templates"][0] == "sentiment.en/labelled@1":
            n = len(one["demonstrations"])
            assert one["instruction"].count("Possible labels: bad, good") == n + 1
    shared = [one for one in made if "/once" in one["templates"][-1]]
    assert shared
    assert all(one["input"] == "" for one in made if one["demonstrations"])


def test_demonstrations_of_a_row_with_steps_show_theirs() -> None:
    rows = [row(at) for at in range(20)]
    given = {"with_demonstrations": 1.0, "with_steps": 0.3, "language": "en"}
    for one in kept_of(rows, **given):
        has_steps = any(name.startswith("steps.") for name in one["templates"])
        said = one["instruction"].count("Because of ")
        assert said == (len(one["demonstrations"]) if has_steps else 0)


@pytest.mark.parametrize("name", ["label", "stars"])
def test_a_row_with_the_same_text_and_another_label_is_not_shown(name: str) -> None:
    texts = ["It was grand, all of it.", "It was a dreadful afternoon."]
    rows = [labelled(at, text=texts[at % 2], label=None) for at in range(4)]
    for at, one in enumerate(rows):
        one["fields"].append({"name": name, "text": str(at)})
    given = {"tasks": ["sentiment"], "fields": {"label": name}, "forms": ["plain"]}
    made = kept_of(rows, with_demonstrations=1.0, **given)
    for one, own in zip(made, rows, strict=True):
        assert len(one["demonstrations"]) == 1
        assert int(one["demonstrations"][0][1:]) % 2 != int(own["row_id"][1:]) % 2


def test_long_rows_and_those_of_validation_are_shown_to_none() -> None:
    rows = [row(at) for at in range(0, 160, 4)]
    rows[3]["output"] = "long " * 400
    made = kept_of(rows, with_demonstrations=1.0, held_out=0.4, fewest=3)
    shown = {name for one in made for name in one["demonstrations"]}
    assert shown
    assert rows[3]["row_id"] not in shown
    assert all(side_number(name, SEED) >= 0.4 for name in shown)
    assert all(one["demonstrations"] for one in made)


def test_rows_do_not_depend_on_their_order() -> None:
    rows = [row(at) for at in range(40)]
    given = {"with_demonstrations": 0.5, "with_steps": 0.4, "tasks": ["reverse"], "share": 0.3}
    by_id = dict(zip([one["row_id"] for one in rows], made_of(rows, **given), strict=True))
    back = dict(
        zip([one["row_id"] for one in rows[::-1]], made_of(rows[::-1], **given), strict=True)
    )
    assert by_id == back


@pytest.mark.parametrize(
    "given",
    [
        {"with_steps": 1.5}, {"with_demonstrations": -0.1}, {"chosen": "best"}, {"forms": []},
        {"forms": ["sung"]}, {"fewest": 3, "most": 2}, {"labels": {"0": ""}}, {"language": "fr"},
        {"rows_a_row": 0}, {"rows_a_row": 21}, {"share": True},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(given)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(one) for one in rows) + "\n")
    return str(path)


def recipe(folder: Path, of_import: str = "", of_format: str = "") -> str:
    path = folder / "own.yaml"
    path.write_text(
        f"name: own\nstages:\n  - stage: import\n{of_import}  - stage: format\n{of_format}"
        "  - stage: export\n"
    )
    return str(path)


DATA = [
    {"text": f"The {NOUNS[at % 10]} was {('dreadful', 'lovely')[at % 2]}, number {at}.",
     "label": None if at == 7 else at % 2}
    for at in range(60)
]  # fmt: skip
OF_IMPORT = "    fields: [text, label]\n"
OF_FORMAT = """    tasks: [sentiment]
    labels: {0: bad, 1: good}
    rows_a_row: 2
    with_demonstrations: 0.5
"""


def test_a_run_balances_its_books_and_names_parents_templates_and_demonstrations(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    run = tmp_path / "run"
    data = write(tmp_path / "rows.jsonl", DATA)
    run_synth(run, recipe=recipe(tmp_path, OF_IMPORT, OF_FORMAT), input=data)
    verify(run)
    kept, dropped = books.rows(run, "format"), books.rows(run, "format", "dropped")
    assert len(kept) == 118
    assert [(one["row_id"], one["drop_reason"]) for one in dropped] == [
        ("import-000007-00", "missing_field")
    ]
    assert [one["row_id"] for one in kept[:3]] == [
        "format-000000-00", "format-000000-01", "format-000001-00",
    ]  # fmt: skip
    for one in kept:
        assert one["parent_id"] == one["root_id"] == f"import-{one['row_id'][7:13]}-00"
        assert one["templates"]
        assert not {one["parent_id"]} & set(one["demonstrations"])
    state = json.loads((run / "stages/02-format/stage.json").read_text())
    assert state["measures"]["with_demonstrations"] == 59
    assert sum(state["dropped_by_reason"].values()) == 1
    shown = next(one for one in kept if one["demonstrations"])
    history = open_run(run).why(shown["row_id"])
    assert [task.id for task in history.demonstrations] == shown["demonstrations"]
    assert shown["demonstrations"][0] in history.as_text()
    assert shown["templates"][0] in history.as_text()


@pytest.mark.parametrize("shard_rows", [1, 7, 1000])
def test_shards_do_not_reach_a_row(tmp_path: Path, run_synth: RunSynth, shard_rows: int) -> None:
    data = write(tmp_path / "rows.jsonl", DATA)
    found = []
    for n in (shard_rows, 13):
        run = tmp_path / f"run{n}"
        own = recipe(tmp_path, OF_IMPORT, OF_FORMAT)
        run_synth(run, f"shard_rows={n}", recipe=own, input=data)
        found.append(books.rows(run, "format"))
    assert found[0] == found[1]


def test_the_seed_decides(tmp_path: Path, run_synth: RunSynth) -> None:
    data = write(tmp_path / "rows.jsonl", DATA)
    own = recipe(tmp_path, OF_IMPORT, OF_FORMAT)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_synth(tmp_path / name, f"seed={seed}", recipe=own, input=data)
    assert books.data_files(tmp_path / "a") == books.data_files(tmp_path / "b")
    assert books.rows(tmp_path / "a", "format") != books.rows(tmp_path / "c", "format")


def test_with_nothing_set_every_row_goes_on_even_without_an_answer(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    rows = [
        {"instruction": f"Name river {n}.", "output": "" if n == 2 else "Yes."} for n in range(5)
    ]
    own = recipe(tmp_path, "", "    tasks: []\n")
    run_synth(tmp_path / "run", "shard_rows=2", recipe=own, input=write(tmp_path / "a.jsonl", rows))
    verify(tmp_path / "run")
    for before, after in zip(
        books.rows(tmp_path / "run", "import"), books.rows(tmp_path / "run", "format"), strict=True
    ):
        assert after == before | {"parent_id": None, "templates": [], "demonstrations": []}


def test_another_decision_takes_the_import_over(tmp_path: Path, run_synth: RunSynth) -> None:
    data = write(tmp_path / "rows.jsonl", DATA)
    run_synth(tmp_path / "a", recipe=recipe(tmp_path, OF_IMPORT, OF_FORMAT), input=data)
    given = {"recipe": recipe(tmp_path, OF_IMPORT, OF_FORMAT), "made_from": str(tmp_path / "a")}
    run_synth(tmp_path / "b", "format.with_demonstrations=0", **given)
    assert not any(one["demonstrations"] for one in books.rows(tmp_path / "b", "format"))


def test_templates_of_ones_own_are_kept_with_the_run_and_can_be_purged_rows(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    own = tmp_path / "mine" / "formats"
    own.mkdir(parents=True)
    (own / "mood.md").write_text(
        "---\nname: mood\nversion: 3\nvariables: [text, label]\nsource: mine\n---\n"
        "=== shout\n{{ text | upper }}{{ '!' * 3 }}\n--- output\n{{ label }}\n"
        "=== first-word: prefix\n{{ text.split()[0] }}\n"
        "--- output\n{{ text.split()[40] }}{{ label }}\n"
    )
    data = write(tmp_path / "rows.jsonl", DATA[:6])
    of_format = (
        "    tasks: [mood]\n    rows_a_row: 2\n    with_demonstrations: 1\n    held_out: 0.05\n"
    )
    run = tmp_path / "run"
    found = recipe(tmp_path, OF_IMPORT, of_format)
    run_synth(run, f"prompts={tmp_path / 'mine'}", recipe=found, input=data)
    kept, dropped = books.rows(run, "format"), books.rows(run, "format", "dropped")
    assert {one["drop_reason"] for one in dropped} == {"template_error"}
    assert "mood/first-word@3: UndefinedError" in dropped[0]["drop_detail"]
    assert len(kept) == len(dropped) == 6
    assert (run / "inputs/formats/mood.md").is_file()
    verify(run)
    gone = kept[0]["demonstrations"][0]
    with pytest.raises(InputError, match="made from it"):
        purge(run, row=gone)
    out = set(purge(run, row=gone, descendants=True).rows)
    assert {one["row_id"] for one in kept if gone in one["demonstrations"]} <= out
    verify(run)
    text = next(one["text"] for one in DATA[:6] if one["text"].endswith(f"{int(gone[7:13])}."))
    for path in run.rglob("*.parquet"):
        assert text not in str(pq.read_table(path).to_pylist()), path
        assert text.upper() not in str(pq.read_table(path).to_pylist()), path


def test_all_that_is_wrong_is_said_before_anything_is_read(tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", DATA[:6])
    wrong = """    tasks: [sentimant, nli]
    fields: {text: body}
    with_steps: 0.5
    rationale: why
    with_demonstrations: 0.5
    held_out: 0.01
"""
    options = Options(recipe(tmp_path, OF_IMPORT, wrong), input=data, out=str(tmp_path / "run"))
    with pytest.raises(RecipeError) as caught:
        prepare(options)
    said = str(caught.value)
    assert "no templates 'sentimant'; did you mean 'sentiment'?" in said
    assert "format.fields.text: rows have no field 'body'; they have" in said
    assert "format.rationale: rows have no field 'why'" in said
    assert "set format.held_out to 0.05 or more (it is 0.01)" in said
    assert "the templates of nli.en use 'hypothesis', 'premise'" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tasks", "named", "says"),
    [
        ("[sentiment]", "fields: {text: text, lable: label}",
         "format.fields.lable: no template of sentiment uses 'lable'; they use choices, label, te"),
        ("[entities]", "values: {token: x}", "format.values.token: no template of entities uses"),
        ("[]", "fields: {text: text}", "format.fields.text: it is given to templates, and no task"),
        ("[sentiment, entities]", "fields: {tokens: text, tags: label}", None),
        ("[gap]", "fields: {text: text}", None),
    ],
)  # fmt: skip
def test_a_variable_that_no_template_is_given_is_refused(
    tmp_path: Path, tasks: str, named: str, says: str | None
) -> None:
    data = write(tmp_path / "rows.jsonl", DATA[:6])
    given = f"    tasks: {tasks}\n    {named}\n"
    options = Options(recipe(tmp_path, OF_IMPORT, given), input=data, out=str(tmp_path / "run"))
    if says is None:
        prepare(options)
        return
    with pytest.raises(RecipeError) as caught:
        prepare(options)
    assert says in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_steps_need_their_column(tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    own = recipe(tmp_path, "", "    with_steps: 0.5\n")
    with pytest.raises(RecipeError, match="reads column 'reasoning', and nothing before it"):
        prepare(Options(own, input=data, out=str(tmp_path / "run")))


def test_demonstrations_are_whole_in_every_form_of_the_export(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    rows = [{"instruction": "Name the colour.", "input": f"{noun} {at}", "output": f"blue {at}"}
            for at, noun in enumerate(NOUNS * 3)]  # fmt: skip
    run = tmp_path / "run"
    own = recipe(tmp_path, "", "    with_demonstrations: 1\n")
    run_synth(run, recipe=own, input=write(tmp_path / "rows.jsonl", rows))
    by_id = {one["row_id"]: one for one in books.rows(run, "format")}
    parents = {one["row_id"]: one for one in books.rows(run, "import")}
    for form in ("messages", "alpaca"):
        for path in sorted((run / "data" / form).glob("*.parquet")):
            for one in pq.read_table(path).to_pylist():
                own_row = by_id[one["row_id"]]
                asked = one["messages"][0]["content"] if form == "messages" else one["instruction"]
                assert asked == own_row["instruction"]
                for name in own_row["demonstrations"]:
                    assert parents[name]["output"] in asked
                if form == "alpaca":
                    assert (one["input"], one["output"]) == ("", own_row["output"])
                else:
                    assert one["messages"][1]["content"] == own_row["output"]
                assert parents[own_row["parent_id"]]["input"] in asked.splitlines()[-2:][0] + asked


def test_a_killed_stage_goes_on_where_it_was(tmp_path: Path, run_synth: RunSynth) -> None:
    data = write(tmp_path / "rows.jsonl", DATA)
    own = recipe(tmp_path, OF_IMPORT, OF_FORMAT)
    run_synth(tmp_path / "whole", "shard_rows=10", recipe=own, input=data)
    run = tmp_path / "cut"
    given = {"recipe": own, "input": data, "settings": ["shard_rows=10"], "out": str(run)}
    calls = 0

    def cut(event: object) -> None:
        nonlocal calls
        calls += "format" in str(event)
        if calls == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepare(Options(**given)), cut)  # type: ignore[arg-type]
    execute(prepare(Options(**given)), lambda event: None)  # type: ignore[arg-type]
    assert books.data_files(run) == books.data_files(tmp_path / "whole")


def test_who_says_the_same_of_a_text_in_other_words_is_not_shown() -> None:
    rows = [row(4 * at) for at in range(300)]
    text = "the tide was out and the boats lay on their sides in the mud until dawn"
    for at, ask in enumerate(("Is this calm?", "How does this sound?", "Name its mood, please.")):
        rows[at] |= {"instruction": f"{ask} {text}", "output": "calm"}
    long = "The harbour is deep enough for every boat."
    for at in (10, 11, 12):
        rows[at]["output"] = long
    made = kept_of(rows, with_demonstrations=1.0, fewest=3, alike_at_most=1)
    own = {f"r{4 * at:03d}" for at in (0, 1, 2)}
    alike_answers = {rows[at]["row_id"] for at in (10, 11, 12)}
    for at, one in enumerate(made):
        assert one["demonstrations"]
        if at < 3:
            assert not own & set(one["demonstrations"])
        if 10 <= at < 13:
            assert not alike_answers & set(one["demonstrations"])


@pytest.mark.parametrize(("words", "is_shown"), [(7, True), (8, False)])
def test_a_text_is_not_shown_before_its_title_is_asked_for(words: int, is_shown: bool) -> None:
    """Eight words that one row asks about and another answers tell that they are of one text."""
    rows = [row(4 * at) for at in range(300)]
    said = ("tide", "out", "boats", "lay", "on", "their", "mud", "sides")
    text = " ".join(said[:words])
    rows[0] |= {"instruction": f"Give it a title: {text}", "output": "Low water"}
    rows[1] |= {"instruction": "A title is Low water. Begin.", "output": text}
    made = kept_of(rows, with_demonstrations=1.0, fewest=3, alike_at_most=1)
    shown = {at: set(one["demonstrations"]) for at, one in enumerate(made)}
    assert (rows[1]["row_id"] in shown[0] or rows[0]["row_id"] in shown[1]) is is_shown


@pytest.mark.parametrize("chosen", ["random", "similar", "diverse"])
def test_none_is_more_alike_than_it_may_be(chosen: str) -> None:
    rows = [row(at) for at in range(0, 400, 4)]
    table = signatures([one["instruction"] for one in rows], ngram=1)
    at = {one["row_id"]: place for place, one in enumerate(rows)}
    given = {"with_demonstrations": 0.2, "chosen": chosen, "alike_at_most": 0.5}
    made = kept_of(rows, **given)
    assert sum(bool(one["demonstrations"]) for one in made) == 20
    for one, own in zip(made, rows, strict=True):
        for name in one["demonstrations"]:
            assert alike(table[at[own["row_id"]]], table[[at[name]]])[0] <= 0.5


def test_where_less_can_be_done_than_was_asked_that_is_said(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    rows = [{"instruction": f"A boat takes {n} cars a trip, over the river. How many in three?",
             "output": str(n), "why": "Three." if n == 4 else None} for n in range(20)]  # fmt: skip
    own = recipe(
        tmp_path,
        "    columns: {reasoning: why}\n",
        "    with_steps: 0.5\n    with_demonstrations: 0.4\n    alike_at_most: 0.1\n",
    )
    told: list[str] = []
    given = {"recipe": own, "input": write(tmp_path / "rows.jsonl", rows)}
    run_synth(tmp_path / "run", listener=lambda event: told.append(str(event)), **given)
    assert any("10 rows were to show steps, and 1 have any (reasoning)" in one for one in told)
    assert any("8 rows were to show others, and 0 find any" in one for one in told)
    kept = books.rows(tmp_path / "run", "format")
    assert sum(bool(one["templates"]) for one in kept) == 1


def test_vectors_of_two_lengths_are_refused_by_name() -> None:
    rows = [row(0, embedding=[1.0]), row(1, embedding=[1.0, 2.0])]
    with pytest.raises(InputError, match=r"different lengths: \[1, 2\]"):
        made_of(rows, with_demonstrations=1.0)
    assert kept_of(rows)


def test_what_rendered_a_row_before_stays_in_it(tmp_path: Path, run_synth: RunSynth) -> None:
    own = recipe(tmp_path, OF_IMPORT, OF_FORMAT)
    data = write(tmp_path / "rows.jsonl", DATA)
    run_synth(tmp_path / "a", recipe=own, input=data)
    given = {"recipe": "format", "input": str(tmp_path / "a")}
    run_synth(tmp_path / "b", "format.with_demonstrations=0.2", "format.held_out=0", **given)
    before = {one["row_id"]: one for one in books.rows(tmp_path / "a", "format")}
    after = books.rows(tmp_path / "b", "format")
    again = [one for one in after if one["row_id"] not in before]
    assert len(again) == 24
    for one in after:
        was = before[one["row_id"] if one["row_id"] in before else one["parent_id"]]
        n = len(was["templates"])
        assert one["templates"][:n] == was["templates"]
        assert len(one["templates"]) == n + (one["row_id"] not in before)
    assert {one["row_id"].partition("-")[0] for one in again} == {"format.2"}
