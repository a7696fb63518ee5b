"""A classifier of toxicity from a folder that is made here; nothing is downloaded."""

import json
from pathlib import Path

import pytest

from pipeline.errors import RecipeError, TeacherError
from pipeline.run.prepare import Options, prepare
from pipeline.stages.toxicity import CLASSES, classes_of
from pipeline.train.classifier import load_classifier
from tests.conftest import RunSynth
from tests.run import books

pytest.importorskip("torch", reason="needs the extra 'train'")

TEXTS = ["Name a river in Italy.", "The Po.", "You are a fool, they said.", "他们说你很笨。"]
RECIPE = (
    "name: t\nstages:\n  - stage: import\n  - stage: toxicity\n  - stage: filter\n"
    "    filters: {toxicity_scores: {at_most: {threat: 0.5}}}\n"
)
LABELS = ["identity_attack", "Threat", "insult", "obscene", "other", "severe_toxic", "toxic"]
IN_ORDER = [6, 5, 3, 1, 2, 0]


def make_folder(folder: Path, labels: list[str], seed: int = 3) -> Path:
    """A BERT of one layer with a head of these labels and a tokenizer of the texts' words."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True)
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(TEXTS, vocab_size=150, min_frequency=1, show_progress=False)
    pieces.save_model(str(folder))
    BertTokenizerFast.from_pretrained(folder, model_max_length=32).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(), hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=32,
        id2label=dict(enumerate(labels)), initializer_range=0.8,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model") / "toxic", LABELS)


def rows_file(path: Path) -> str:
    rows = [
        {"instruction": TEXTS[at % 4], "input": "", "output": TEXTS[(at + 1) % 4] * (at % 3)}
        for at in range(9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_scores_are_those_of_the_model_for_each_text_and_class(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = load_classifier(folder, classes_of(folder))([*TEXTS, "word " * 500])
    for text, scores in zip([*TEXTS, "word " * 500], found, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**tokens).logits[0]
        wanted = [float(1 / (1 + torch.exp(-logits[at]))) for at in IN_ORDER]
        assert scores == pytest.approx(wanted, abs=1e-6)
        assert all(0 <= score <= 1 for score in scores)


def test_scores_are_columns_and_a_threshold_moves_without_the_model(
    run_synth: RunSynth, folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "t.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    given, out = rows_file(tmp_path / "rows.jsonl"), tmp_path / "run"
    settings = (f"toxicity.classifier={folder}",)
    run_synth(out, *settings, recipe=str(recipe), input=given)
    rows = books.rows(out, "toxicity")
    assert len(rows) == 9
    classify = load_classifier(folder, classes_of(folder))
    for row in rows:
        texts = [text for text in (row["instruction"], row["output"]) if text]
        highest = [max(each) for each in zip(*classify(texts), strict=True)]
        assert [row[name] for name in CLASSES] == highest
    bound = sorted(row["threat"] for row in rows)[4]
    other = f"filter.filters={{toxicity_scores: {{at_most: {{threat: {bound}}}}}}}"
    run_synth(
        tmp_path / "other",
        *settings,
        other,
        recipe=str(recipe),
        input=given,
        made_from=str(out),
    )
    kept = [row["threat"] for row in books.rows(tmp_path / "other", "filter")]
    assert kept == [row["threat"] for row in rows if row["threat"] <= bound]
    scored, taken_over = (
        {name: sha for name, sha in books.data_files(run).items() if "toxicity" in name}
        for run in (out, tmp_path / "other")
    )
    assert scored == taken_over
    seconds = [books.stage_json(run, "toxicity")["seconds"] for run in (out, tmp_path / "other")]
    assert seconds[0] == seconds[1]  # copied, not scored again


def test_the_scores_are_the_same_for_any_shards(
    run_synth: RunSynth, folder: Path, tmp_path: Path
) -> None:
    given = rows_file(tmp_path / "rows.jsonl")
    found = []
    for size in (2, 100):
        out = tmp_path / f"run-{size}"
        settings = (f"toxicity.classifier={folder}", f"shard_rows={size}")
        run_synth(out, *settings, recipe="toxicity", input=given)
        found.append([[row[name] for name in CLASSES] for row in books.rows(out, "toxicity")])
    assert found[0] == found[1]


def test_a_folder_that_is_no_such_classifier_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path
) -> None:
    given = rows_file(tmp_path / "rows.jsonl")

    def said(named: str) -> str:
        options = Options(
            recipe="toxicity", input=given, out=str(tmp_path / "r"),
            settings=[f"toxicity.classifier={named}"] if named else [],
        )  # fmt: skip
        with pytest.raises(RecipeError) as error:
            prepare(options, {})
        return str(error.value)

    assert "toxicity needs a model: --set toxicity.classifier=FOLDER" in said("")
    assert "nowhere is no classifier of toxicity: there is no such folder" in said("nowhere")
    assert "its config.json names no labels" in said(str(tmp_path))
    other = make_folder(tmp_path / "other", ["good", "bad"])
    assert "it has no label toxicity, severe_toxicity" in said(str(other))
    (other / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config))
    assert "no weights in safetensors" in said(str(other))
    (other / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_classifier(other, classes_of(other))
