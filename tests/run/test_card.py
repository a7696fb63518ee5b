"""The card of the exported data: a header that the hub reads, licences, terms, recipe, limits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from pipeline import open_run
from pipeline.run import card
from pipeline.run.card_header import licence_lines
from pipeline.run.teacher_terms import FAMILIES, terms_of
from tests.conftest import RunSynth
from tests.report.payloads import PAYLOADS
from tests.teacher_server.process import Server

OWN_SEEDS = (
    '{{"id": "own_{n}", "instruction": "{text}", "is_classification": false, '
    '"instances": [{{"input": "", "output": "Yes."}}]}}'
)

OWN_RULE = """
import polars as pl


def all_stay(instruction: pl.Series) -> pl.DataFrame:
    none = pl.lit(None, pl.String)
    return instruction.to_frame("i").with_columns(reason=none, detail=none).drop("i")
"""


def text_of(run: Path) -> str:
    return (run / "data/README.md").read_text("utf-8")


def header_of(run: Path) -> dict[str, Any]:
    found = yaml.safe_load(text_of(run).split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_hub_s_own_class_reads_the_header(small_run: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    found = hub.DatasetCard.load(small_run / "data/README.md")
    assert found.data.to_dict() == header_of(small_run)
    assert found.data.license == "apache-2.0"
    assert found.data.language == ["en"]
    assert found.data.size_categories == ["n<1K"]
    assert found.text.lstrip().startswith("# Instruction data")


def test_the_header_counts_what_is_in_the_files(small_run: Path) -> None:
    run = open_run(small_run)
    header = header_of(small_run)
    assert [one["config_name"] for one in header["configs"]] == ["messages", "alpaca"]
    assert [one.get("default") for one in header["configs"]] == [True, None]
    for info in header["dataset_info"]:
        files = [e for e in run.manifest.data if e.path.split("/")[1] == info["config_name"]]
        rows = {side["name"]: side["num_examples"] for side in info["splits"]}
        assert sum(rows.values()) == run.manifest.kept == sum(entry.rows for entry in files)
        assert info["download_size"] == sum((small_run / e.path).stat().st_size for e in files)
        assert info["dataset_size"] == sum(side["num_bytes"] for side in info["splits"]) > 0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("MIT", {"license": "mit"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Open to members", {"license": "other", "license_name": "open-to-members"}),
        (" ", {"license": "unknown"}),
        (None, {"license": "unknown"}),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_another(said: str | None, wanted: object) -> None:
    assert licence_lines(said) == wanted


def test_a_licence_that_is_stated_stands_in_header_and_text(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    seeds = tmp_path / "own.jsonl"
    words = ("rivers", "bridges", "kettles", "violins", "gardens", "lanterns", "sailors", "maps")
    lines = [OWN_SEEDS.format(n=n, text=f"Say whether {w} are old.") for n, w in enumerate(words)]
    seeds.write_text("\n".join(lines) + "\n")
    small = ("bootstrap.target=8", "bootstrap.demonstrations=4")
    run_synth(tmp_path / "bare", *small, seeds=str(seeds))
    assert header_of(tmp_path / "bare")["license"] == "unknown"
    assert re.search(r"Seed tasks: `own.jsonl` \(SHA-256 `\w+`\), no licence named", text_of(
        tmp_path / "bare"
    ))  # fmt: skip
    assert "state it before you publish" in text_of(tmp_path / "bare")
    given = "export.card={license: CC-BY-4.0, seeds_license: CC0-1.0}"
    run_synth(
        tmp_path / "stated", *small, given, made_from=str(tmp_path / "bare"), seeds=str(seeds)
    )
    assert header_of(tmp_path / "stated")["license"] == "cc-by-4.0"
    text = text_of(tmp_path / "stated")
    assert "Licence: `CC-BY-4.0`, as whoever made the data states it." in text
    assert "licence `CC0-1.0`" in text


def test_the_recipe_stands_in_the_card_without_a_folder_of_this_machine(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Say yes.", "output": "Yes."}\n' * 3)
    prompts = tmp_path / "secret-folder" / "bench.jsonl"
    prompts.parent.mkdir()
    prompts.write_text('{"benchmark": "b", "text": "What is the capital of the moon again?"}\n')
    own = prompts.with_name("own.py")
    own.write_text(OWN_RULE)
    given = (f"decontaminate.benchmarks={prompts}", f"filter.filters={{{own}:all_stay: {{}}}}")
    rows = str(tmp_path / "rows.jsonl")
    run_synth(tmp_path / "run", *given, recipe="curate", input=rows)
    text = text_of(tmp_path / "run")
    block = text.split("```yaml\n")[1].split("\n```")[0]
    stages = {name: own for stage in yaml.safe_load(block)["stages"] for name, own in stage.items()}
    assert list(stages)[:2] == ["import", "filter"]
    assert stages["filter"]["filters"]["own.py:all_stay"] == {}
    assert "prompts of benchmarks in `bench.jsonl`" in text
    assert "secret-folder" not in text
    assert str(tmp_path) not in text
    assert "nobody looked for them" not in text


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-5-mini", "OpenAI"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("o3-mini", "OpenAI"),
        ("claude-sonnet-4", "Claude"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama"),
        ("google/gemma-3-4b-it", "Gemma"),
        ("Mixtral-8x7B", "Mistral"),
        ("microsoft/phi-4", "Phi"),
        ("gpt2", None),
        ("foo3-large", None),
        ("my-model", None),
        ("dolphin-x", None),
    ],
)
def test_a_teacher_s_family_is_told_by_its_name(name: str, family: str | None) -> None:
    found = terms_of(name)
    assert (found and found.family) == family


def test_every_family_says_what_and_where() -> None:
    assert len({one.family for one in FAMILIES}) == len(FAMILIES)
    for one in FAMILIES:
        assert len(one.said) > 15
        assert one.read.startswith("https://")


def test_the_card_says_what_is_known_of_the_teacher_s_terms(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    narrow = ("bootstrap.target=10", "bootstrap.window=4", "teacher.concurrency=4")
    run_synth(tmp_path / "run", *narrow, teacher=f"openai:qwen3-8b@{server.url}")
    text = text_of(tmp_path / "run")
    assert "* `qwen3-8b` is called like a model of the family Qwen:" in text
    assert "https://huggingface.co/Qwen" in text
    assert header_of(tmp_path / "run")["license"] == "unknown"
    assert server.url not in text
    unknown = card._terms(["my-model", card.OFFLINE])
    assert [(one["name"], one["family"]) for one in unknown] == [("my-model", None)]


def test_limits_are_those_of_the_run(small_run: Path) -> None:
    limits = text_of(small_run).split("## Known limits")[1]
    assert "Prompts of benchmarks may be among the rows" in limits
    assert "No judge has rated the rows." in limits
    assert "in one language (en)" in limits
    for what in ("Personal data were", "Secrets, as keys and passwords, were", "Toxic text was"):
        assert f"{what} not looked for." in limits


@pytest.mark.parametrize(
    ("settings", "unseen"),
    [
        ([], {"Personal data were", "Toxic text was"}),
        (["clean.personal_data={kinds: [email]}"], {"Toxic text was"}),
        (["clean.secrets=false", "clean.toxicity={}"], {"Personal data were", "Secrets,"}),
    ],
)
def test_what_a_rule_looked_for_is_no_limit(
    settings: list[str], unseen: set[str], run_synth: RunSynth, tmp_path: Path
) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("name: own\nstages: [{stage: import}, {stage: clean}, {stage: export}]\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Name a river of Asia.", "output": "The Mekong."}\n' * 2)
    run_synth(tmp_path / "run", *settings, recipe=str(recipe), input=str(rows))
    limits = text_of(tmp_path / "run").split("## Known limits")[1]
    every = ("Personal data were", "Secrets,", "Toxic text was")
    assert {what for what in every if what in limits} == unseen


RULE_OF_ANY_NAME = '''
import polars as pl

def odd(instruction: pl.Series) -> pl.DataFrame:
    """Drop every third row; its own text is the rule."""
    frame = pl.DataFrame({"said": instruction}).with_row_index("at")
    said = pl.when(pl.col("at") % 3 == 0).then(pl.col("said"))
    return frame.select(reason=said, detail=said)
'''
MARKDOWN = ("![x](http://h/p.png)", "[x](http://h)", "a | b | c", "x\n\n# head\n\n| a |",
            "``` `` `", "\\| x \\", "<http://h>", "  ", "**b**", "q" * 5000)  # fmt: skip


def test_text_of_rows_is_no_markup_in_the_card_and_no_more_than_it_has_room_for(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    texts = [*MARKDOWN, *PAYLOADS[::3]]
    lines = [
        {"instruction": f"{text} {side}", "output": "yes", "source": text}
        for side in "abc"
        for text in texts
    ]
    rows = tmp_path / "<b>`|[x](y).jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "odd.py").write_text(RULE_OF_ANY_NAME)
    recipe = tmp_path / "odd.yaml"
    recipe.write_text(
        "name: odd\ndescription: '<script>1</script> [x](y) a | b'\nstages:\n  - stage: import\n"
        f"  - {{stage: filter, filters: {{{json.dumps(f'{tmp_path}/odd.py:odd')}: {{}}}}}}\n"
        "  - stage: export\n"
    )
    run_synth(tmp_path / "run", recipe=str(recipe), input=str(rows))
    text = text_of(tmp_path / "run")
    body = text.split("---\n", 2)[2]
    reader = MarkdownIt("commonmark").enable("table")
    found = [one for block in reader.parse(body) for one in (block, *(block.children or ()))]
    kinds = {one.type for one in found}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "strong_open"}
    assert [one.tag for one in found if one.type == "heading_open"].count("h1") == 1
    assert sum(one.type == "th_open" for one in found) == 5
    assert sum(one.type == "tr_open" for one in found) == 4
    assert sum(one.type == "td_open" for one in found) == 15
    assert re.search(r"\* Written by \d+ more: \d+ rows\.\n", body)
    assert re.search(r", \d+ others \d+ \|\n", body)
    assert max(map(len, body.splitlines())) < 20 * (card.LONGEST_REASON + 10)
    assert len(text) < 20_000
    assert not [sign for sign in body if not sign.isprintable() and sign != "\n"]
