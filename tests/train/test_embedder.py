"""Vectors from a sentence-transformers folder, made here from a config; nothing is downloaded."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.errors import RecipeError, TeacherError
from pipeline.run.prepare import Options, prepare
from pipeline.teacher.call import Answer, Call, canonical, read_envelope
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books

pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("sentence_transformers", reason="needs the extra 'train'")

TEXTS = [
    "Name a river in Italy.",
    "Write a poem about the sea, in four lines.",
    "Add 2 and 3.",
    "Name a river in Italy.",
    "Explain why the sky is blue to a child, and why it is red in the evening.",
]
RECIPE = "name: v\nstages:\n  - stage: import\n  - stage: embed\n  - stage: semantic\n"


def make_folder(folder: Path, seed: int) -> Path:
    """A BERT of two layers with a tokenizer of the texts' own words, mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bare = folder.with_name(f"{folder.name}-bare")
    bare.mkdir(parents=True)
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(TEXTS, vocab_size=200, min_frequency=1, show_progress=False)
    pieces.save_model(str(bare))
    BertTokenizerFast.from_pretrained(bare, model_max_length=64).save_pretrained(bare)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, max_position_embeddings=64,
        initializer_range=0.5,  # untrained, and yet texts apart
    )  # fmt: skip
    BertModel(config).save_pretrained(bare)
    words = Transformer(str(bare))
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "tiny", seed=1)


@pytest.fixture
def given(tmp_path: Path, folder: Path) -> dict[str, Any]:
    (tmp_path / "v.yaml").write_text(RECIPE)
    pl.DataFrame({"instruction": TEXTS, "input": [""] * len(TEXTS)}).write_parquet(
        tmp_path / "rows.parquet"
    )
    return {
        "recipe": str(tmp_path / "v.yaml"),
        "input": str(tmp_path / "rows.parquet"),
        "teacher": f"st:{folder}",
    }


def call(text: str, slot: int = 0, kind: str = "embeddings") -> Call:
    body = {"model": "tiny", "input": text}
    return Call("embed", slot, kind, body, canonical(kind, body), "embed", {})


def answers(folder: Path, *groups: list[str]) -> list[Answer]:
    """The texts' answers; those of one group are asked for together."""
    from pipeline.train.embedder import LocalEmbedder

    async def ask() -> list[Answer]:
        embedder = LocalEmbedder(folder, "tiny")
        await embedder.check()
        found = []
        for texts in groups:
            for received in await asyncio.gather(*map(embedder.send, map(call, texts))):
                answer = read_envelope("embeddings", received.raw)
                assert isinstance(answer, Answer)
                found.append(answer)
        await embedder.close()
        return found

    return asyncio.run(ask())


def vectors(folder: Path, *groups: list[str]) -> np.ndarray:
    return np.array([answer.reply.vector for answer in answers(folder, *groups)])


def test_vectors_have_length_1_and_state_their_tokens(folder: Path) -> None:
    short, long = answers(folder, ["Add 2 and 3.", "word " * 500])
    assert len(short.reply.vector) == 32
    assert np.linalg.norm(short.reply.vector) == pytest.approx(1, abs=1e-6)
    assert short.model == "tiny"
    assert 4 <= (short.input_tokens or 0) <= 20
    assert long.input_tokens == 64  # what the model reads
    assert short.output_tokens == 0


def test_one_at_a_time_and_many_together_give_the_same_bytes(folder: Path) -> None:
    import torch

    many = [f"{text} Number {n}." for n in range(30) for text in TEXTS]  # more than two batches
    together = vectors(folder, many)
    alone = vectors(folder, *([text] for text in many))
    if torch.cuda.is_available():  # encoded in batches there
        assert np.abs(together - alone).max() < 1e-5
    else:
        assert np.array_equal(together, alone)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_calls_that_wait_together_are_encoded_in_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    sizes = []
    encode = SentenceTransformer.encode

    def noted(self: Any, texts: list[str], **options: Any) -> Any:
        sizes.append(len(texts))
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", noted)
    answers(folder, [f"Text {n}" for n in range(100)])
    assert sizes == [64, 36]


def test_one_text_alone_gives_the_same_bytes_again(folder: Path) -> None:
    assert (vectors(folder, ["Add 2 and 3."]) == vectors(folder, ["Add 2 and 3."])).all()


def test_equal_texts_get_equal_vectors_and_one_of_them_is_dropped(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_synth(out, "semantic.threshold=0.9999", **given)
    rows = books.rows(out, "embed")
    assert [row["instruction"] for row in rows] == TEXTS
    assert rows[0]["embedding"] == pytest.approx(rows[3]["embedding"], abs=1e-5)
    assert [row["requests"][-1]["model"] for row in rows] == ["tiny"] * len(TEXTS)
    (dropped,) = books.rows(out, "semantic", "dropped")
    assert (dropped["row_id"], dropped["drop_ref"]) == ("import-000003-00", "import-000000-00")
    assert verify(out).findings == []


def test_a_run_that_is_gone_on_with_asks_nothing_again(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_synth(out, until="embed", **given)
    before = len(books.records(out))
    run_synth(out, **given)
    assert len(books.records(out)) == before
    more = given | {"made_from": str(out)}
    run_synth(tmp_path / "looser", "semantic.threshold=0.5", **more)
    replies = [r for r in books.records(tmp_path / "looser") if r["kind"] == "reply"]
    assert len(replies) == len(TEXTS)
    assert all(json.loads(reply["note"])["copied"] for reply in replies)


def test_other_weights_under_the_same_name_are_another_run(
    run_synth: RunSynth, given: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_synth(out, **given)
    other = given | {"teacher": f"st:{make_folder(tmp_path / 'other' / 'tiny', seed=2)}"}
    with pytest.raises(RecipeError, match=r"teacher\.sha256 was"):
        prepare(Options(out=str(out), **other), {})
    new = tmp_path / "new"
    run_synth(new, **other, made_from=str(out))
    replies = [r for r in books.records(new) if r["kind"] == "reply"]
    assert not any(json.loads(reply["note"]).get("copied") for reply in replies)
    first, second = (books.rows(run, "embed")[0]["embedding"] for run in (out, new))
    assert first != pytest.approx(second, abs=1e-2)


def test_a_folder_that_is_not_there_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    given["teacher"] = f"st:{tmp_path / 'nowhere'}"
    with pytest.raises(RecipeError, match="is not there: write st:FOLDER"):
        prepare(Options(out=str(tmp_path / "run"), **given), {})


def test_a_recipe_that_wants_text_is_refused_by_the_names_of_its_stages(
    folder: Path, tmp_path: Path
) -> None:
    asked = Options(recipe="self-instruct", out=str(tmp_path / "run"), teacher=f"st:{folder}")
    with pytest.raises(RecipeError, match="only makes vectors") as told:
        prepare(asked, {})
    for name in ("bootstrap", "classify", "instances"):
        assert f"{name}: the teacher st:" in str(told.value)


def test_without_the_extra_the_line_to_install_it_is_said(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.roles.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install '\.\[train\]'"):
        prepare(Options(out=str(tmp_path / "run"), **given), {})


def spoil_nothing_there(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def spoil_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def spoil_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil_code(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom.Module"
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_nothing_there, "is no sentence-transformers folder"),
        (spoil_weights, "cannot be loaded"),
        (spoil_pickle, "none in safetensors"),
        (spoil_code, "code of its own"),
    ],
)
def test_a_folder_that_cannot_be_loaded_ends_the_run(
    spoil: Any, said: str, folder: Path, tmp_path: Path
) -> None:
    from pipeline.train.embedder import LocalEmbedder

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    spoil(copy)

    async def check() -> None:
        await LocalEmbedder(copy, "copy").check()

    with pytest.raises(TeacherError, match=said):
        asyncio.run(check())


def test_a_call_for_text_is_refused(folder: Path) -> None:
    from pipeline.train.embedder import LocalEmbedder

    with pytest.raises(TeacherError, match="answers only embeddings"):
        asyncio.run(LocalEmbedder(folder, "tiny").send(call("Hello", kind="chat")))
