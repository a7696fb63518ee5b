"""The export: a dataset repository that loads as it stands, roots kept together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages import export
from pipeline.stages.export import Config
from pipeline.stages.finetune_encoding import encode, rewrite_colon
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books

ROW = {"row_id": "a", "root_id": "r", "instruction": "Do it.", "input": "this", "output": "done"}
LOAD = """
import sys
from datasets import Features, load_dataset
from huggingface_hub import DatasetCard
cache, *folders = sys.argv[1:]
for folder in folders:
    card = DatasetCard.load(folder + "/README.md").data.to_dict()
    named = {info["config_name"]: info for info in card["dataset_info"]}
    assert list(named) == [config["config_name"] for config in card["configs"]], named
    for name in ((), *((config,) for config in named)):
        data = load_dataset(folder, *name, cache_dir=cache)
        info = named["".join(name) or "messages"]
        features = Features._from_yaml_list(info["features"])
        for side in info["splits"]:
            found = data[side["name"]]
            assert (found.features, found.num_rows) == (features, side["num_examples"]), side
            assert found.info.splits[side["name"]].num_bytes == side["num_bytes"], side
        assert list(data) == [side["name"] for side in info["splits"]], list(data)
        print(*name, {side: (data[side].num_rows, data[side].column_names) for side in data})
"""


def test_messages_and_alpaca() -> None:
    assert export.render(ROW, "alpaca") == {
        "instruction": "Do it.", "input": "this", "output": "done", "row_id": "a"
    }  # fmt: skip
    assert export.render(ROW, "messages") == {
        "messages": [
            {"role": "user", "content": "Do it.\n\nthis"},
            {"role": "assistant", "content": "done"},
        ],
        "row_id": "a",
    }


@pytest.mark.parametrize("given", ["", None])
def test_without_input_there_is_no_blank_line(given: str | None) -> None:
    found = export.render(ROW | {"input": given}, "messages")
    assert found["messages"][0]["content"] == "Do it."
    assert export.render(ROW | {"input": given}, "alpaca")["input"] == ""


def test_one_root_in_twenty_goes_to_validation() -> None:
    sides = [export.split(f"bootstrap-{n:06d}-00", 42, Config()) for n in range(20_000)]
    assert 900 < sides.count("validation") < 1100
    assert sides.count("train") + sides.count("validation") == 20_000


@given(st.text(), st.integers(0, 2**63 - 1), st.floats(0, 0.99))
def test_the_side_is_a_function_of_seed_and_root(root: str, seed: int, share: float) -> None:
    root = root.encode(errors="replace").decode()
    config = Config(validation=share)
    side = export.split(root, seed, config)
    assert side == export.split(root, seed, config)
    assert export.split(root, seed, Config(validation=0)) == "train"
    more = export.split(root, seed, Config(validation=min(0.999, share + 0.1)))
    assert side == "train" or more == "validation", "a larger share only adds"


def test_another_seed_is_another_split() -> None:
    config = Config(validation=0.5)
    a, b = ([export.split(f"r{n}", seed, config) for n in range(200)] for seed in (1, 2))
    assert 60 < sum(x != y for x, y in zip(a, b, strict=True)) < 140


def sides(run: Path, form: str) -> dict[str, set[str]]:
    return {
        side: {
            row_id
            for path in sorted((run / "data" / form).glob(f"{side}-*.parquet"))
            for row_id in pq.read_table(path)["row_id"].to_pylist()
        }
        for side in ("train", "validation")
    }


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that gives a third of its roots to validation."""
    from tests.conftest import run_and_recount

    out = tmp_path_factory.mktemp("halved") / "run"
    more = ("export.validation=0.3", "export.completion=drawn")
    run_and_recount(out, "bootstrap.target=60", *more)
    return out


def test_no_root_is_on_both_sides(halved: Path) -> None:
    root_of = {row["row_id"]: row["root_id"] for row in books.rows(halved, "dedup")}
    for form in ("messages", "alpaca", "completion"):
        found = sides(halved, form)
        roots = {side: {root_of[row_id] for row_id in ids} for side, ids in found.items()}
        assert not roots["train"] & roots["validation"]
        assert min(map(len, roots.values())) > 5
        assert found["train"] | found["validation"] == set(root_of)
    assert max(map(len, sides(halved, "alpaca").values())) > len(set(root_of.values())) * 0.4


def test_the_folder_is_a_data_set_for_load_dataset(
    run_synth: RunSynth, halved: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets", reason="the extra 'data' is not installed")
    small = ("bootstrap.target=20", "export.completion=fixed")
    run_synth(tmp_path / "no validation", *small, "export.validation=0")
    run_synth(tmp_path / "no train", "bootstrap.target=20", "export.validation=0.9999")
    runs = [halved, tmp_path / "no validation", tmp_path / "no train"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "HF_DATASETS_OFFLINE": "1"}
    folders = [str(run / "data") for run in runs]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "cache"), *folders],
        env=os.environ | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    columns = {
        "messages": ["messages", "row_id"],
        "alpaca": ["instruction", "input", "output", "row_id"],
        "completion": ["prompt", "completion", "row_id"],
    }
    wanted = [{"train", "validation"}, {"train"}, {"validation"}]
    lines = []
    for run, names in zip(runs, wanted, strict=True):
        found = {side: len(ids) for side, ids in sides(run, "messages").items() if ids}
        assert found.keys() == names
        forms = [form for form in columns if (run / "data" / form).is_dir()]
        assert ("completion" in forms) is (run.name != "no train")
        for form in ("", *forms):
            shown = {side: (n, columns[form or "messages"]) for side, n in found.items()}
            lines.append(f"{form} {shown}".strip())
    assert done.stdout.splitlines() == lines


def test_without_rows_there_is_no_data_file_and_the_card_names_none(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    rules = "filter.filters={word_count: {at_least: 900, at_most: 999}}"
    run_synth(run, "bootstrap.target=20", rules)
    assert not list((run / "data").rglob("*.parquet"))
    card = (run / "data" / "README.md").read_text("utf-8")
    assert "configs:" not in card
    assert "Train 0 rows, validation 0," in card
    assert verify(run).findings == []


def test_the_card_says_who_wrote_the_rows_and_what_was_dropped(small_run: Path) -> None:
    text = (small_run / "data/README.md").read_text(encoding="utf-8")
    assert "offline" in text
    assert "It is not a language model." in text
    state = books.stage_json(small_run, "bootstrap")
    for reason, n in state["dropped_by_reason"].items():
        assert f"{reason} {n}" in text
    assert "{{" not in text


def test_the_card_counts_sources_and_licences_and_blames_no_teacher_that_wrote_nothing(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    words = ["river", "mountain", "city", "forest", "desert", "lake", "island", "valley"]
    lines = [
        {
            "instruction": f"Say where the {word} of my story lies.",
            "output": f"The {word} lies far away.",
            "source": "forum" if n < 5 else "a`b\n\n# c" if n < 7 else None,
            "license": "CC-BY-4.0" if n < 5 else None,
        }
        for n, word in enumerate(words)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"recipe": "curate", "input": str(tmp_path / "rows.jsonl")}
    run_synth(tmp_path / "run", **given)
    card = (tmp_path / "run/data/README.md").read_text("utf-8")
    assert "* Source `forum`, licence `CC-BY-4.0`: 5 rows.\n" in card
    assert "* Source `a'b # c`, no licence named: 2 rows.\n" in card
    assert "* Source `rows.jsonl`, no licence named: 1 row.\n" in card
    assert "depends on the licences of the rows that were taken in: state it" in card
    assert "teacher" not in card
    run_synth(tmp_path / "mit", "import.license=MIT", **given)
    card = (tmp_path / "mit/data/README.md").read_text("utf-8")
    assert "* Source `rows.jsonl`, licence `MIT`: 1 row.\n" in card
    assert "Measured" not in card


def test_the_card_names_the_languages_that_rows_are_tagged_with(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    lines = [
        {"instruction": "Say where the river of my story lies.", "output": "It lies far away."},
        {"instruction": "请介绍一下长城的历史和文化意义。", "output": "长城在中国有着悠久的历史。"},
        {"instruction": "写一首关于春天的短诗，送给孩子们。", "output": "春天来了，花儿都开了。"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_synth(tmp_path / "run", recipe="curate", input=str(tmp_path / "rows.jsonl"))
    card = (tmp_path / "run/data/README.md").read_text("utf-8")
    assert card.startswith("---\nlanguage:\n- zh\n- en\nlicense: unknown\ntask_categories:\n")


def test_the_card_names_a_few_of_many_sources(run_synth: RunSynth, tmp_path: Path) -> None:
    lines = [{"instruction": f"Say the number {n} in your own words.", "output": f"It is {n}.",
              "source": f"page {n:02d}"} for n in range(30)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\nstages:\n  - stage: import\n  - stage: export\n")
    run_synth(tmp_path / "run", recipe=str(recipe), input=str(tmp_path / "rows.jsonl"))
    card = (tmp_path / "run/data/README.md").read_text("utf-8")
    assert card.count("* Source `page ") == 20
    assert "* 10 more sources: 10 rows.\n" in card


def test_a_conversation_goes_out_whole_unless_its_texts_were_rewritten() -> None:
    said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    turns = [{"role": role, "content": content} for role, content in said]
    row = ROW | {"instruction": "Hi", "input": None, "output": "Hello", "messages": turns}
    assert export.render(row, "messages")["messages"] == turns
    rewritten = export.render(row | {"output": "Good day"}, "messages")["messages"]
    assert [turn["content"] for turn in rewritten] == ["Hi", "Good day"]


def test_an_imported_conversation_is_exported_whole(run_synth: RunSynth, tmp_path: Path) -> None:
    turns = [{"role": role, "content": f"{role} says {n}"}
             for n, role in enumerate(("user", "assistant", "user", "assistant"))]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}), encoding="utf-8")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\nstages:\n  - stage: import\n  - stage: export\n", encoding="utf-8")
    run_synth(tmp_path / "run", recipe=str(recipe), input=str(tmp_path / "rows.jsonl"))
    tables = [pq.read_table(path) for path in (tmp_path / "run/data/messages").glob("*.parquet")]
    assert [row["messages"] for table in tables for row in table.to_pylist()] == [turns]


def test_prompts_and_completions_are_written_where_they_are_asked_for(
    tmp_path: Path, run_synth: RunSynth
) -> None:
    rows = [{"instruction": f"Name river {n}.", "input": "Ratio: 3" if n % 2 else "",
             "output": f"The {{input}} {n}"} for n in range(40)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nstages:\n  - stage: import\n  - stage: export\n")
    source = {"recipe": str(own), "input": str(tmp_path / "rows.jsonl")}
    found = {}
    for name, settings in {
        "drawn": ("export.completion=drawn",),
        "again": ("export.completion=drawn",),
        "fixed": ("export.completion=fixed", "export.end=END"),
        "colon": ("export.completion=fixed", "export.colon_rewrite=1"),
    }.items():
        run_synth(tmp_path / name, *settings, **source)
        verify(tmp_path / name)
        files = sorted((tmp_path / name / "data" / "completion").glob("*.parquet"))
        found[name] = [one for path in files for one in pq.read_table(path).to_pylist()]
        assert len(found[name]) == 40
        assert "config_name: completion" in (tmp_path / name / "data/README.md").read_text()
    assert found["drawn"] == found["again"]
    ends = {one["prompt"].partition(".")[2].replace("Ratio: 3", "") for one in found["drawn"]}
    assert len(ends) > 4
    for one in found["drawn"]:
        assert one["completion"].startswith(" ") is one["prompt"].endswith("Output:")
        assert one["completion"].endswith("<|endoftext|>")
    assert {one["completion"][-3:] for one in found["fixed"]} == {"END"}
    assert all("The {input} " in one["completion"] for one in found["drawn"])
    assert any("Ratio: 3" in one["prompt"] for one in found["fixed"])
    assert not any("Ratio" in one["prompt"] for one in found["colon"])


@given(st.text(), st.text(), st.text(), st.integers(0, 100))
def test_every_text_is_whole_in_its_prompt_and_completion(
    instruction: str, given_text: str, output: str, layout: int
) -> None:
    prompt, completion = encode(instruction, given_text, output, layout=layout)
    assert instruction.strip() in prompt
    assert given_text.strip() in prompt
    assert completion.strip().startswith(output.strip())
    assert completion.startswith(" ") >= prompt.endswith("Output:")


@pytest.mark.parametrize("n_names", [0, 1, 2, 3])
def test_only_the_name_of_a_single_field_is_taken_away(n_names: int) -> None:
    given_text = "\n".join(f"name{n}: value" for n in range(n_names)) or "value"
    assert (rewrite_colon(given_text) == "value") is (n_names < 2)
