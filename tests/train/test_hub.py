"""Models of the hub: found in a cache that is laid out here, or fetched from a hub on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("transformers", reason="needs the extra 'train'")

from huggingface_hub import constants

from pipeline.errors import RecipeError
from pipeline.inspect import open_run
from pipeline.run.estimate import estimate
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.run.roles import Model, found_on_hub
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings
from pipeline.train import tiny
from pipeline.train.hub import INDEX, cached
from pipeline.verify import verify
from tests.conftest import RunSynth, ignore
from tests.run import books
from tests.security.command import synth
from tests.train import hub_server
from tests.train.test_embedder import make_folder

NAME = "some-org/some.model"
COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40
RECIPE = "name: d\nstages:\n  - stage: import\n  - stage: difficulty\n"
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(6)]
SIZE = tiny.Size(vocabulary=300, width=32, layers=1, context=64)


def model(folder: Path, seed: int) -> Path:
    tokenizer = tiny.make_tokenizer((text for row in ROWS for text in row.values()), SIZE)
    tiny.save(folder, tiny.make_model(tokenizer, SIZE, seed=seed), tokenizer)
    (folder / "README.md").write_text("A model.")
    (folder / "modeling.py").write_text("raise SystemExit('code of a model was run')")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("hub") / "model", seed=5)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HF_HOME of this test, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hf"


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "d.yaml").write_text(RECIPE)
    pl.DataFrame(ROWS).write_parquet(tmp_path / "rows.parquet")
    return {"recipe": str(tmp_path / "d.yaml"), "input": str(tmp_path / "rows.parquet")}


def command(given: dict[str, Any], out: Path, **variables: str) -> subprocess.CompletedProcess[Any]:
    named = ["--input", given["input"], "--scorer", f"hf:{NAME}", "--out", str(out)]
    return synth("run", given["recipe"], *named, variables=variables)


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        (f"hf:{NAME}", NAME, ""),
        (f"hf:{NAME}@v1.0", NAME, "v1.0"),
        (f"st:{NAME}@refs/pr/2", NAME, "refs/pr/2"),
    ],
)
def test_a_name_of_the_hub_has_a_revision(text: str, name: str, revision: str) -> None:
    found = uri.parse(text, {})
    assert (found.hub, found.model, found.revision, found.folder) == (name, name, revision, "")


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:name", "hf:a/b/c", "hf:/a/b", "hf:../nowhere", "hf:a/..", "hf:a/b@",
     "hf:a/b@../../c", "hf:a/b@-x", "hf:https://x/y", "st:a b/c", "hf:a/b\n"],
)  # fmt: skip
def test_what_is_neither_a_folder_nor_a_name_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="ORG/NAME@REVISION"):
        uri.parse(text, {})


def test_a_folder_goes_before_a_model_of_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    found = uri.parse(f"hf:{NAME}", {})
    assert (found.folder, found.hub, found.model) == (NAME, "", "some.model")


def test_a_judge_that_is_the_teacher_stays_that(folder: Path, home: Path) -> None:
    hub_server.laid_out(home / "hub", NAME, folder, COMMIT)
    named = Model(uri.parse(f"vllm:{NAME}", {}), uri.NO_KEY, TeacherSettings())
    found = found_on_hub({"teacher": named, "judge": named}, None, may_fetch=())
    assert found["teacher"].uri.revision == COMMIT
    assert found["judge"] is found["teacher"], "or it is asked beside it, as hard again"


def test_a_model_of_the_cache_measures_and_its_commit_and_digest_are_in_the_manifest(
    run_synth: RunSynth, folder: Path, home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    snapshot = hub_server.laid_out(home / "hub", NAME, folder, COMMIT)
    run_synth(tmp_path / "run", scorer=f"hf:{NAME}", **given)
    run = open_run(tmp_path / "run")
    identity = run.manifest.identity
    assert (identity["scorer.model"], identity["scorer.revision"]) == (NAME, COMMIT)
    assert len(identity["scorer.sha256"]) == 64
    assert run.kept("difficulty")["requests"][0][-1]["model"] == NAME
    run_synth(tmp_path / "by-folder", scorer=f"hf:{folder}", **given)
    one, other = (open_run(tmp_path / name).kept("difficulty") for name in ("run", "by-folder"))
    assert one["perplexity"].equals(other["perplexity"])
    assert verify(tmp_path / "run").findings == []
    (snapshot / "pytorch_model.bin").write_bytes(b"what another program fetched")
    run_synth(tmp_path / "again", scorer=f"hf:{NAME}", **given)
    assert open_run(tmp_path / "again").manifest.identity == identity


def test_vectors_come_from_a_model_of_the_hub_too(
    run_synth: RunSynth, home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra 'train'")
    folder = make_folder(tmp_path / "words", seed=1)
    hub_server.laid_out(home / "hub", NAME, folder, COMMIT)
    (tmp_path / "d.yaml").write_text("name: v\nstages:\n  - stage: import\n  - stage: embed\n")
    run_synth(tmp_path / "run", teacher=f"st:{NAME}@{COMMIT}", **given)
    run_synth(tmp_path / "by-folder", teacher=f"st:{folder}", **given)
    one, other = (open_run(tmp_path / name).kept("embed") for name in ("run", "by-folder"))
    assert one["embedding"].equals(other["embedding"])
    assert open_run(tmp_path / "run").manifest.identity["teacher.revision"] == COMMIT


def test_a_run_goes_on_with_the_commit_that_it_began_with(
    run_synth: RunSynth, folder: Path, home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    hub_server.laid_out(home / "hub", NAME, folder, COMMIT)
    run_synth(tmp_path / "run", "import.rows=3", scorer=f"hf:{NAME}", **given)
    hub_server.laid_out(home / "hub", NAME, model(tmp_path / "newer", seed=6), OTHER)
    run_synth(tmp_path / "run", scorer=f"hf:{NAME}", **given)
    assert open_run(tmp_path / "run").manifest.identity["scorer.revision"] == COMMIT
    before = len(books.records(tmp_path / "run"))
    run_synth(tmp_path / "from", scorer=f"hf:{NAME}", made_from=str(tmp_path / "run"), **given)
    assert open_run(tmp_path / "from").manifest.identity["scorer.revision"] == COMMIT
    copied = [one for one in books.records(tmp_path / "from") if one["kind"] == "reply"]
    assert len(copied) == len(ROWS)
    assert before == 2 * len(ROWS)
    for named in (f"hf:{NAME}@{OTHER}", f"hf:{NAME}@main"):
        with pytest.raises(RecipeError, match=rf"scorer\.revision was .{COMMIT}. and is .{OTHER}"):
            prepare(Options(out=str(tmp_path / "run"), scorer=named, **given))
    run_synth(tmp_path / "new", scorer=f"hf:{NAME}", **given)
    assert open_run(tmp_path / "new").manifest.identity["scorer.revision"] == OTHER
    replay(tmp_path / "run", ignore)
    assert books.rows(tmp_path / "run", "difficulty") == books.rows(tmp_path / "from", "difficulty")


def test_a_model_that_is_not_in_the_cache_is_one_message_and_nothing_is_begun(
    home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = command(given, tmp_path / "run", **offline)
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (2, 1), said
    for part in (f"hf:{NAME}: there is no such folder here", "HF_HUB_OFFLINE", "hf download"):
        assert part in said
    assert not (tmp_path / "run").exists()
    plan = estimate(prepare(Options(out=str(tmp_path / "run"), scorer=f"hf:{NAME}",
                                    needs_key=False, **given)))  # fmt: skip
    assert plan.stages[0].requests == len(ROWS)  # a plan fetches nothing


def test_a_hub_that_cannot_be_reached_is_one_message_to_try_again(
    home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        variables = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
        done = command(given, tmp_path / "run", **variables)
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (75, 1), said
    assert "the hub cannot be reached" in said
    assert not (tmp_path / "run").exists()


def test_a_model_is_fetched_once_without_its_code(
    folder: Path, home: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[str] = []
    with hub_server.running(NAME, folder, COMMIT, asked) as address:
        variables = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
        done = command(given, tmp_path / "run", **variables)
        assert done.returncode == 0, done.stderr.decode()
        fetched = {
            one.rpartition("/")[2] for one in asked if one.startswith("GET") and "res" in one
        }
        assert "model.safetensors" in fetched
        assert not fetched & {"modeling.py", "README.md"}
        so_far = len(asked)
        assert command(given, tmp_path / "again", **variables).returncode == 0
        assert len(asked) == so_far
        variables["HF_HOME"] = str(tmp_path / "empty")
        named = ["--input", given["input"], "--scorer", "hf:some-org/nobody", "--out"]
        done = synth("run", given["recipe"], *named, str(tmp_path / "no"), variables=variables)
        said = done.stderr.decode()
        assert (done.returncode, said.count("\n")) == (2, 1), said
        assert "is not on the hub, or not for everybody" in said
    identity = open_run(tmp_path / "run").manifest.identity
    assert identity["scorer.revision"] == COMMIT
    assert identity == open_run(tmp_path / "again").manifest.identity


def spoil_weights(snapshot: Path) -> None:
    (snapshot / "model.safetensors").unlink()
    (snapshot / "pytorch_model.bin").write_bytes(b"\x80\x04")


def spoil_config(snapshot: Path) -> None:
    (snapshot / "config.json").unlink()


def spoil_index(snapshot: Path) -> None:
    (snapshot / INDEX).write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


def spoil_index_itself(snapshot: Path) -> None:
    (snapshot / INDEX).write_text("[")


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_config, spoil_index, spoil_index_itself])
def test_a_snapshot_that_is_not_whole_is_not_taken(spoil: Any, folder: Path, home: Path) -> None:
    snapshot = hub_server.laid_out(home / "hub", NAME, folder, COMMIT)
    assert cached(NAME, "") == snapshot
    assert cached(NAME, COMMIT) == snapshot
    assert cached(NAME, "v2") is None
    spoil(snapshot)
    assert cached(NAME, "") is None


def test_without_the_extra_the_line_to_install_it_is_said(
    home: Path, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.roles.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"the scorer hf:some-org/some.model needs .*\.\[tr"):
        prepare(Options(out=str(tmp_path / "run"), scorer=f"hf:{NAME}", **given))
