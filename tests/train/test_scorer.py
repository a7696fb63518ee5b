"""Difficulty measured by a folder's model, by a server of the same model, and by the tiny one."""

from __future__ import annotations

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("transformers", reason="needs the extra 'train'")

from pipeline.cli.look import status_text
from pipeline.errors import RecipeError, TeacherError
from pipeline.inspect import open_run
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.status import stage_statuses
from pipeline.teacher.call import Call, canonical
from pipeline.teacher.ledger import billed_at_most
from pipeline.train import scorer, tiny
from pipeline.train.prompt_ids import turns
from pipeline.train.scorer import FOLDS, Texts, fold, load_folder, load_or_train
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books
from tests.security.command import synth
from tests.teacher_server.process import Server
from tests.train import score_server

CONTEXT = 96
SIZE = tiny.Size(vocabulary=400, width=64, layers=1, context=CONTEXT)
RECIPE = "name: d\nstages:\n  - stage: import\n  - stage: difficulty\n  - stage: balance\n"
ROWS = [
    {
        "instruction": f"Name the number that comes after {n}.",
        "input": "Say it twice." if n % 3 == 0 else "",
        "output": " ".join([f"It is {n + 1}."] * (1 + n % 4)),
    }
    for n in range(24)
] + [
    {"instruction": "Say nothing.", "input": "", "output": ""},
    {"instruction": "Repeat it.", "input": "", "output": "again and again " * 80},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model in a folder; its losses differ from row to row all the same."""
    path = tmp_path_factory.mktemp("scorer") / "small"
    tokenizer = tiny.make_tokenizer((str(text) for row in ROWS for text in row.values()), SIZE)
    tiny.save(path, tiny.make_model(tokenizer, SIZE, seed=5), tokenizer)
    return path


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """The recipe and its rows, for `run_synth`."""
    (tmp_path / "d.yaml").write_text(RECIPE)
    pl.DataFrame(ROWS).write_parquet(tmp_path / "rows.parquet")
    return {"recipe": str(tmp_path / "d.yaml"), "input": str(tmp_path / "rows.parquet")}


def expected(folder: Path, row: dict[str, Any]) -> tuple[float, float] | None:
    """Both losses of a row from the definition: unpadded, float64, one token after the other."""
    import torch

    (loaded,) = load_folder(folder)
    texts = turns(row["instruction"], row["input"], has_template=True)
    prompt = loaded.ids.prompt(texts)
    answer = loaded.ids.data(row["output"])[: CONTEXT - len(prompt)]
    if not answer:
        return None
    found = []
    for before in (prompt, prompt[:1]):
        with torch.inference_mode():
            ids = torch.tensor([before + answer])
            rows = torch.log_softmax(loaded.model.double()(input_ids=ids).logits[0], dim=-1)
        at = range(len(before) - 1, len(before) + len(answer) - 1)
        total = -sum(float(rows[n, token]) for n, token in zip(at, answer, strict=True))
        found.append(total / len(answer))
    return found[0], found[1]


def test_the_columns_are_the_definitions(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    run_synth(tmp_path / "run", scorer=f"hf:{folder}", **given)
    rows = open_run(tmp_path / "run").kept("difficulty").to_dicts()
    assert len(rows) == len(ROWS)
    for row in rows:
        losses = expected(folder, row)
        if losses is None:
            assert (row["perplexity"], row["ifd"], row["scored_tokens"]) == (None, None, 0)
            continue
        loss, alone = losses
        assert row["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
        assert row["ifd"] == pytest.approx(loss / alone, rel=1e-4)
        assert row["ifd_perplexity"] == pytest.approx(math.exp(loss - alone), rel=1e-4)
        assert row["requests"][-1]["model"] == "small"
    assert sum(row["scored_tokens"] == 0 for row in rows) == 1
    assert sum(row["cut_tokens"] > 0 for row in rows) == 1
    measures = open_run(tmp_path / "run").stage("difficulty").measures
    assert (measures["rows_not_measured"], measures["rows_cut"]) == (1, 1)
    assert verify(tmp_path / "run").findings == []


def test_the_card_says_who_measured(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    Path(given["recipe"]).write_text(f"{RECIPE}  - stage: export\n")
    run_synth(tmp_path / "run", scorer=f"hf:{folder}", **given)
    card = (tmp_path / "run/data/README.md").read_text("utf-8")
    assert "* Measured by the scorer `small`.\n" in card


def test_rows_that_cannot_be_measured_are_counted_by_name(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    long = {"instruction": "Count. " * 200, "input": "", "output": "One."}
    pl.DataFrame([*ROWS, long, long]).write_parquet(given["input"])
    run_synth(tmp_path / "run", scorer=f"hf:{folder}", **given)
    run = open_run(tmp_path / "run")
    measures = run.stage("difficulty").measures
    assert measures["not_measured"] == {"prompt_fills_the_context": 2, "no_output": 1}
    assert measures["rows_not_measured"] == 3
    rows = run.kept("difficulty").filter(pl.col("perplexity").is_null())
    assert rows["not_measured"].to_list() == ["no_output", *["prompt_fills_the_context"] * 2]
    assert run.kept("difficulty")["not_measured"].null_count() == len(ROWS) - 1
    assert run.stage("balance").measures == {"rows_kept_unmeasured": 3}
    text = status_text(run, stage_statuses(run), None)
    assert "difficulty: not measured: prompt fills the context 2, no output 1\n" in text
    assert "balance: rows kept unmeasured 3\n" in text
    purge(tmp_path / "run", row=rows["row_id"][2])
    run = open_run(tmp_path / "run")
    assert run.stage("difficulty").measures["not_measured"]["prompt_fills_the_context"] == 1
    assert run.stage("balance").measures == {"rows_kept_unmeasured": 2}
    assert verify(tmp_path / "run").findings == []


def test_a_server_measures_what_the_folder_measures_and_other_bounds_ask_it_nothing(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    (loaded,) = load_folder(folder)
    asked: list[str] = []
    # the server leaves room for the one token that it has to write
    with score_server.running(loaded.model, loaded.ids._tokenizer, CONTEXT + 1, asked) as url:
        named = f"openai:small@{url}"
        run_synth(tmp_path / "server", scorer=named, **given)
        so_far = len(asked)
        assert so_far >= 4 * (len(ROWS) - 1)
        assert asked.count("/tokenize") == 2 * len(ROWS)
        run_synth(
            tmp_path / "other",
            "balance.lowest=0.3",
            scorer=named,
            made_from=str(tmp_path / "server"),
            **given,
        )
        assert len(asked) == so_far
    run_synth(tmp_path / "folder", scorer=f"hf:{folder}", **given)
    names = ("perplexity", "ifd", "ifd_perplexity", "scored_tokens", "cut_tokens")
    one, other = (
        open_run(tmp_path / name).kept("difficulty").select(names).rows()
        for name in ("server", "folder")
    )
    for left, right in zip(one, other, strict=True):
        assert [x is None for x in left] == [x is None for x in right]
        assert [x or 0 for x in left] == pytest.approx([x or 0 for x in right], rel=1e-4)
    fewer = books.rows(tmp_path / "other", "balance")
    assert len(fewer) < len(books.rows(tmp_path / "server", "balance"))
    assert verify(tmp_path / "server").findings == []


def talk(*contents: str, system: str = "") -> list[dict[str, str]]:
    turns = [
        {"role": ("user", "assistant")[at % 2], "content": content}
        for at, content in enumerate(contents)
    ]
    return [{"role": "system", "content": system}, *turns] if system else turns


TALKS = [
    talk("Name a number.", "It is 4.", "And the one after 4?", "It is 5."),
    talk("Name a number.", "It is 4."),
    talk("Say it twice.", "It is 2.", "again " * 300, "It is 3.", system="Name the number."),
    talk("Say nothing.", "", "Say it.", ""),
    [{"role": "assistant", "content": "It is 9."}, *talk("Name the number.", "It is 1.")],
]


def test_a_conversation_is_measured_whole_by_the_folder_and_by_a_server(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    pl.DataFrame({"messages": TALKS}).write_parquet(given["input"])
    (loaded,) = load_folder(folder)
    asked: list[str] = []
    with score_server.running(loaded.model, loaded.ids._tokenizer, CONTEXT + 1, asked) as url:
        # under a cap every bill is held against the worst case that was set aside for it
        run_synth(
            tmp_path / "server", "budget.tokens=10000000", scorer=f"openai:small@{url}", **given
        )
    assert asked.count("/tokenize") == 2 * 8
    assert asked.count("/v1/completions") == 3 + 2 + 2 + 0 + 2  # one pass a conversation, and alone
    run_synth(tmp_path / "run", scorer=f"hf:{folder}", **given)
    names = ("perplexity", "ifd", "scored_tokens", "cut_tokens", "not_measured")
    rows, served = (
        open_run(tmp_path / name).kept("difficulty").select(names).to_dicts()
        for name in ("run", "server")
    )
    for one, other in zip(rows, served, strict=True):
        assert [value is None for value in one.values()] == [v is None for v in other.values()]
        assert one["not_measured"] == other["not_measured"]
        for name in names[:-1]:
            assert (one[name] or 0) == pytest.approx(other[name] or 0, rel=1e-4)
    ids = loaded.ids
    for row, turns_ in zip(rows, TALKS, strict=True):
        answers = [at for at, turn in enumerate(turns_) if turn["role"] == "assistant" and at]
        lost: list[tuple[float, float, int]] = []
        for at in answers:
            before, answer = ids.prompt(turns_[:at]), ids.data(turns_[at]["content"])
            if answer and len(before) < CONTEXT:
                sums = [_summed(loaded.model, one, answer) for one in (before, before[:1])]
                lost.append((sums[0], sums[1], len(answer)))
        n = sum(tokens for *_, tokens in lost)
        assert row["scored_tokens"] == n
        if n:
            total, alone = (sum(one[which] for one in lost) for which in (0, 1))
            assert row["perplexity"] == pytest.approx(math.exp(total / n), rel=1e-4)
            assert row["ifd"] == pytest.approx(total / alone, rel=1e-4)
    assert [row["not_measured"] for row in rows] == [None, None, None, "no_output", None]
    assert [row["cut_tokens"] > 0 for row in rows] == [False, False, True, False, False]
    assert verify(tmp_path / "run").findings == []


def _summed(model: Any, before: list[int], answer: list[int]) -> float:
    """The loss of an answer's tokens after `before`, in float64, unpadded."""
    import torch

    with torch.inference_mode():
        logits = model.double()(input_ids=torch.tensor([[*before, *answer]])).logits[0]
        rows = torch.log_softmax(logits, dim=-1)
    return -sum(float(rows[len(before) - 1 + n, token]) for n, token in enumerate(answer))


def test_the_worst_case_of_a_conversation_holds_every_answer_with_all_before_it() -> None:
    turns_ = talk(*(f"{number} " * 40 for number in range(12)))
    body = {"instruction": "a", "input": "", "output": "b", "messages": turns_}
    call = Call("difficulty", 0, "score", body, canonical("score", body), "", {})
    sent = sum(
        sum(len(turn["content"]) for turn in turns_[: at + 1]) + len(turns_[at]["content"])
        for at in range(1, 12, 2)
    )
    n_bytes, n_messages = billed_at_most(call)
    assert sent <= n_bytes <= sent + 2 * len(call.content)
    assert n_messages >= 6 * 7


def test_a_conversation_that_the_chat_template_refuses_is_not_measured_and_says_so(
    run_synth: RunSynth, folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "strict"))
    template = other / "chat_template.jinja"
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template.write_text(refuses + template.read_text("utf-8"), "utf-8")
    pl.DataFrame({"messages": TALKS}).write_parquet(given["input"])
    run_synth(tmp_path / "run", scorer=f"hf:{other}", **given)
    run = open_run(tmp_path / "run")
    assert run.kept("difficulty")["not_measured"].to_list()[2] == "template_refuses"
    named = run.stage("difficulty").measures["not_measured"]
    assert named == {"no_output": 1, "template_refuses": 1}


def test_the_tiny_model_learns_and_measures_conversations(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tiny.train
    monkeypatch.setattr(tiny, "train", lambda *a, **k: train(*a, **k | {"steps": 20}))
    pl.DataFrame({"messages": TALKS * 3}).write_parquet(given["input"])
    run_synth(tmp_path / "run", scorer="tiny", **given)
    rows = open_run(tmp_path / "run").kept("difficulty")
    assert rows["perplexity"].null_count() == 3
    assert rows["scored_tokens"].to_list()[0] > rows["scored_tokens"].to_list()[1]


def test_a_server_that_cannot_tokenize_is_refused_at_the_first_request(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    server.set_plan([])  # it speaks the OpenAI protocol, and knows no /tokenize
    with pytest.raises(TeacherError, match="not there"):
        run_synth(tmp_path / "run", scorer=f"openai:m@{server.url}", **given)
    assert server.history("request")


def test_the_tiny_model_measures_no_row_that_it_saw(tmp_path: Path) -> None:
    wanted: dict[int, list[Texts]] = {0: [], 1: []}
    number = 0
    while min(map(len, wanted.values())) < 40:
        texts = Texts(f"Say it, number {number}.", "", "")
        mine = fold(texts, FOLDS)
        letter = "ab"[mine]
        wanted[mine].append(Texts(texts[0], "", f"{letter * 3} {letter * 5} {letter * 4}"))
        number += 1
    rows = [*wanted[0][:40], *wanted[1][:40]]
    models = load_or_train(tmp_path / "tiny", lambda: rows, seed=3, steps=40)
    for measured_by, loaded in enumerate(models):
        own, others = (
            [losses.given for losses, _ in loaded.measure(wanted[which][:20])]
            for which in (measured_by, 1 - measured_by)
        )
        assert max(x for x in others if x is not None) < min(x for x in own if x is not None)


ONE_TASK = [
    {"instruction": "Name a river.", "input": "", "output": f"It is {n}."} for n in range(9)
]


@pytest.mark.parametrize("rows", [ROWS[:1], ONE_TASK], ids=["one row", "one instruction"])
def test_rows_that_a_tiny_model_has_nothing_to_learn_for_are_not_measured(
    rows: list[dict[str, Any]], run_synth: RunSynth, given: dict[str, Any], tmp_path: Path
) -> None:
    silent = {"instruction": rows[0]["instruction"], "input": rows[0]["input"], "output": ""}
    pl.DataFrame([*rows, silent]).write_parquet(given["input"])
    run_synth(tmp_path / "run", scorer="tiny", **given)
    run = open_run(tmp_path / "run")
    assert run.kept("difficulty")["perplexity"].null_count() == len(rows) + 1
    named = {"no_other_rows_to_learn_from": len(rows), "no_output": 1}
    assert run.stage("difficulty").measures["not_measured"] == named
    assert run.kept("balance").height == len(rows) + 1
    assert verify(tmp_path / "run").findings == []


def test_a_tiny_model_learns_nothing_from_rows_without_an_answer(tmp_path: Path) -> None:
    texts = [Texts(f"Say {n}.", "", "") for n in range(40)]
    spoken = next(one for one in texts if fold(one, FOLDS) == 0)._replace(output="It is so.")
    for _ in range(2):  # trained, then read
        models = load_or_train(tmp_path / "tiny", lambda: [spoken, *texts], seed=3, steps=5)
        assert [loaded.has_learned for loaded in models] == [False, True]


def test_texts_without_an_instruction_are_measured_by_both_tiny_models() -> None:
    assert {fold(Texts("", "", f"It is {n}."), FOLDS) for n in range(20)} == {0, 1}


def test_the_tiny_model_of_the_same_rows_and_seed_is_the_same(tmp_path: Path) -> None:
    rows = [Texts(row["instruction"], row["input"], row["output"]) for row in ROWS]
    one, other = (
        load_or_train(tmp_path / name, lambda: rows, seed=3, steps=5) for name in ("a", "b")
    )
    for left, right in zip(one, other, strict=True):
        assert [x for x, _ in left.measure(rows)] == [x for x, _ in right.measure(rows)]
    again = load_or_train(tmp_path / "a", list, seed=3, steps=5)  # read, not trained
    assert [x for x, _ in again[0].measure(rows)] == [x for x, _ in one[0].measure(rows)]


def test_a_raised_limit_measures_all_rows_by_the_tiny_model_of_all_rows(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "load_or_train", partial(load_or_train, steps=5))
    for name, limits in (("grown", (8, 14)), ("fresh", (14,))):
        for limit in limits:
            run_synth(tmp_path / name, scorer="tiny", limit=limit, **given)
    names = ("row_id", "perplexity", "ifd", "ifd_perplexity")
    grown, fresh = (
        open_run(tmp_path / name).kept("difficulty").select(names).rows()
        for name in ("grown", "fresh")
    )
    assert len(fresh) == 14
    assert [row[0] for row in grown] == [row[0] for row in fresh]
    for one, other in zip(grown, fresh, strict=True):  # the last bits are those of a batch
        assert one[1:] == pytest.approx(other[1:], rel=1e-5)
    left, right = (
        [row["row_id"] for row in books.rows(tmp_path / name, "balance")]
        for name in ("grown", "fresh")
    )
    assert left == right
    assert verify(tmp_path / "grown").findings == []


def test_a_purge_takes_the_tiny_models_that_learned_from_the_row(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "load_or_train", partial(load_or_train, steps=5))
    secret = {"instruction": "Say it.", "input": "", "output": "Zanzibarquux " * 9}
    pl.DataFrame([*ROWS[:12], secret]).write_parquet(given["input"])
    run = tmp_path / "run"
    run_synth(run, scorer="tiny", **given)
    found = [path for path in run.rglob("tokenizer.json") if "Zanzibarquux" in path.read_text()]
    assert found
    rows = books.rows(run, "difficulty")
    row = next(row for row in rows if "Zanzibarquux" in row["output"])
    shutil.copytree(run, tmp_path / "other")
    said = synth("purge", str(run), "--row", row["row_id"])
    assert said.returncode == 0, said.stderr
    assert b"scorer/ is removed" in said.stdout
    assert not (run / "scorer").exists()
    assert verify(run).findings == []
    said = synth("purge", str(run), "--row", rows[0]["row_id"])  # there are none any more
    assert said.returncode == 0, said.stderr
    assert b"scorer/" not in said.stdout
    line = ("purge", str(tmp_path / "other"), "--row", row["row_id"])
    assert synth(*line, variables={"SYNTH_CRASH_AT": "purge_moved"}).returncode < 0
    assert b"scorer/ is removed" in synth(*line).stdout
    assert not (tmp_path / "other" / "scorer").exists()


def test_weights_that_are_not_safetensors_are_not_read(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(TeacherError, match="safetensors"):
        load_folder(tmp_path)


def test_a_scorer_that_writes_no_measure_is_refused_before_anything(
    given: dict[str, Any], tmp_path: Path
) -> None:
    options = Options(out=str(tmp_path / "run"), scorer="offline", **given)
    with pytest.raises(RecipeError, match=r"measures no token loss: name a scorer"):
        prepare(options)
    options = Options(out=str(tmp_path / "run"), recipe="self-instruct", teacher="tiny")
    with pytest.raises(RecipeError, match=r"only measures token loss"):
        prepare(options)


def test_the_built_in_recipe_leaves_difficulty_out_without_a_scorer(
    given: dict[str, Any], tmp_path: Path
) -> None:
    without = prepare(Options(out=str(tmp_path / "r"), recipe="curate", input=given["input"]))
    assert {"difficulty", "balance"} <= {step.name for _, step in without.recipe.left_out}
    assert "difficulty" not in without.recipe.step_names
    named = prepare(
        Options(
            out=str(tmp_path / "r"), recipe="curate", input=given["input"], settings=["scorer=tiny"]
        )
    )
    assert {"difficulty", "balance"} <= set(named.recipe.step_names)
    with pytest.raises(RecipeError, match=r"balance is left out: no scorer is named"):
        prepare(
            Options(
                out=str(tmp_path / "r"),
                recipe="curate",
                input=given["input"],
                settings=["balance.lowest=0.2"],
            )
        )
