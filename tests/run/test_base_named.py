"""How an adapter names its base."""

import json
from dataclasses import replace
from pathlib import Path

from pipeline.run.base_named import CONFIG, name_base
from pipeline.run.roles import Model
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings

COMMIT = "0123456789abcdef" * 2 + "01234567"


def test_a_base_of_the_hub_is_named_by_name_and_commit(tmp_path: Path) -> None:
    cache = "/home/somebody/.cache/huggingface/hub/models--org--name/snapshots/" + COMMIT
    written = {"base_model_name_or_path": cache, "revision": None, "r": 16}
    (tmp_path / CONFIG).write_text(json.dumps(written))
    found = replace(uri.parse("hf:org/name"), folder=cache, revision=COMMIT)
    base = Model(found, uri.NO_KEY, TeacherSettings())
    name_base(tmp_path, base)
    assert json.loads((tmp_path / CONFIG).read_bytes()) == {
        "base_model_name_or_path": "org/name",
        "revision": COMMIT,
        "r": 16,
    }
    name_base(tmp_path / "full", base)
    assert not (tmp_path / "full").exists()


def test_a_base_in_a_folder_stays_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"base_model_name_or_path": "/models/mine"}')
    before = (tmp_path / CONFIG).read_bytes()
    name_base(tmp_path, Model(uri.parse(f"hf:{tmp_path}"), uri.NO_KEY, TeacherSettings()))
    name_base(tmp_path, None)
    assert (tmp_path / CONFIG).read_bytes() == before
