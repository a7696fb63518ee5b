"""What vLLM is started with, and what is refused before it is."""

import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline import redact
from pipeline.errors import RecipeError
from pipeline.teacher.settings import VLLMSettings
from pipeline.teacher.vllm.command import MODULE, Served, check_installed
from tests.run import books
from tests.vllm.serving import Serving


def served(**settings: object) -> Served:
    given = VLLMSettings.model_validate(settings)
    return Served("m", Path("/models/m"), given, "teacher")


def options(command: list[str]) -> list[str]:
    return command[command.index(MODULE) + 1 :]


def test_nothing_is_said_that_is_left_to_vllm() -> None:
    command = served().command(8123)
    assert command[:3] == [sys.executable, "-m", MODULE]
    assert options(command) == [
        *("--model", "/models/m", "--served-model-name", "m", "--host", "127.0.0.1"),
        *("--port", "8123", "--disable-uvicorn-access-log"),
    ]


def test_engine_settings_are_passed_on() -> None:
    command = served(
        python="/opt/vllm/bin/python",
        tensor_parallel_size=2,
        data_parallel_size=3,
        max_model_len=4096,
        gpu_memory_utilization=0.85,
        quantization="awq",
        dtype="bfloat16",
        options={"enforce-eager": True, "seed": 7, "enable_prefix_caching": False,
                 "structured_outputs_config": {"backend": "guidance"}, "revision": None,
                 "allowed_origins": ["a", "b"]},
    ).command(1)  # fmt: skip
    assert command[0] == "/opt/vllm/bin/python"
    said = options(command)
    for name, value in (
        ("--tensor-parallel-size", "2"), ("--data-parallel-size", "3"), ("--seed", "7"),
        ("--max-model-len", "4096"), ("--gpu-memory-utilization", "0.85"),
        ("--quantization", "awq"), ("--dtype", "bfloat16"), ("--allowed-origins", "a"),
        ("--structured-outputs-config", '{"backend": "guidance"}'),
    ):  # fmt: skip
        assert said[said.index(name) + 1] == value
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(said)
    assert "--revision" not in said


def test_an_adapter_is_asked_by_its_name() -> None:
    said = options(served(lora_modules={"tuned": "/a", "other": "/b"}, adapter="tuned").command(1))
    assert said[said.index("--served-model-name") + 1] == "base"
    at = said.index("--lora-modules")
    assert said[at + 1 : at + 3] == ["tuned=/a", "other=/b"]
    assert "--enable-lora" in said


def test_the_server_gets_no_key_that_is_paid_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODYS", "sk-paid-with-this-one")
    redact.remember("sk-paid-with-this-one")
    found = served().environment("its-own", {"MARK": "run"})
    assert "SOMEBODYS" not in found
    assert found["VLLM_API_KEY"] == "its-own"
    assert (found["MARK"], found["HF_HUB_OFFLINE"], found["VLLM_NO_USAGE_STATS"]) == (
        "run",
        "1",
        "1",
    )
    assert found["PATH"] == os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def test_what_was_installed_beside_vllm_is_found_first(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    found = served(python=str(python)).environment("its-own", {})
    assert found["PATH"].split(os.pathsep)[0] == str(python.parent)


def test_nothing_is_imported_that_lies_where_the_command_is_given(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()  # a clone of its sources, say
    (tmp_path / "vllm" / "__init__.py").write_text("raise SystemExit('this is not installed')")
    serving = Serving(tmp_path, {}, rows=2)
    ended, said = serving.finish()
    assert ended == 0, said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"options": {"port": 1}}, "port are settings of their own"),
        ({"options": {"--host": "0.0.0.0"}}, "host are set by synth"),
        ({"options": {"api-key": "x"}}, "api_key are set by synth"),
        ({"options": {"ssl-keyfile": "/k", "headless": True}}, "headless, ssl_keyfile are set by"),
        ({"lora_modules": {"a": "/a", "b": "/b"}}, "say which of lora_modules is asked"),
        ({"lora_modules": {"base": "/a"}}, "'base' is the model itself"),
        ({"lora_modules": {"a": "/a"}, "adapter": "c"}, "'c' is none of lora_modules"),
        ({"gpu_memory_utilization": 1.5}, "less than or equal to 1"),
        ({"tensor_parallel_size": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        VLLMSettings.model_validate(settings)


def test_an_interpreter_without_vllm_or_with_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has(version: str) -> VLLMSettings:
        info = tmp_path / version / f"vllm-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
        monkeypatch.setenv("PYTHONPATH", str(info.parent))
        return VLLMSettings.model_validate({"python": sys.executable})

    monkeypatch.delenv("PYTHONPATH", raising=False)
    bare = VLLMSettings.model_validate({"python": sys.executable})
    with pytest.raises(RecipeError, match=r"the judge needs vLLM, and .* has none: pip install"):
        check_installed(bare, "judge")
    with pytest.raises(RecipeError, match=r"needs vLLM 0\.22 or newer, and .* has 0\.21\.3"):
        check_installed(has("0.21.3"), "judge")
    check_installed(has("0.22.0"), "judge")
    check_installed(has("1.0"), "judge")
    older = tmp_path / "python3.10"
    older.write_text(f'#!/bin/sh\n[ "$1" = -P ] && exit 2\nexec {sys.executable} "$@"\n')
    older.chmod(0o755)
    check_installed(VLLMSettings.model_validate({"python": str(older)}), "judge")
    gone = VLLMSettings.model_validate({"python": str(tmp_path / "python")})
    with pytest.raises(RecipeError, match=r"judge\.vllm\.python: .* is no Python"):
        check_installed(gone, "judge")


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--teacher", "vllm:/nowhere"), 5, "vllm:/nowhere' is not there"),
        (("--teacher", "vllm:"), 5, "is not there"),
        (("--teacher", "vllm:org/model"), 5, "is not whole in the cache"),
        (("--set", "teacher.vllm.pyhton=x"), 2, "teacher.vllm.pyhton"),
        (("--set", "teacher.vllm.python=/nowhere/python"), 2, "is no Python that can be asked"),
        (("--teacher", "offline"), 2, "teacher.vllm are for a model that is served here"),
        (("--set", "teacher.vllm.lora_modules={a: /nowhere}"), 2, "there is no folder /nowhere"),
    ],
)
def test_what_is_refused_before_anything_starts(
    tmp_path: Path, more: tuple[str, ...], code: int, told: str
) -> None:
    serving = Serving(tmp_path, {})
    limit = ("--set", "teacher.vllm.max_model_len=64")
    ended, said = serving.finish(*limit, *more, HF_HUB_OFFLINE="1")
    assert ended == code
    assert told in said
    assert serving.starts == []
    assert not (serving.run / "run.json").exists()


def test_a_run_with_an_adapter_is_known_by_both_weights(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    serving = Serving(tmp_path, {}, rows=4)
    ended, said = serving.finish("--set", f"teacher.vllm.lora_modules={{tuned: {adapter}}}")
    assert ended == 0, said
    assert "--lora-modules" in serving.starts[0]["others"]
    before = json.loads((serving.run / "run.json").read_bytes())
    assert before["teacher"] == "tuned"
    assert [row["requests"][-1]["model"] for row in books.rows(serving.run, "classify")] == [
        "tuned"
    ] * 4
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    ended, said = serving.finish("--set", f"teacher.vllm.lora_modules={{tuned: {adapter}}}",
                                 "--limit", "4")  # fmt: skip
    assert ended == 2
    assert "teacher.sha256 was" in said


def test_a_run_keeps_to_the_options_that_change_what_is_answered(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {}, rows=4)

    def finish(limit: int, **options: object) -> tuple[int, str]:
        given = f"teacher.vllm.options={json.dumps(options)}"
        return serving.finish("--limit", str(limit), "--set", given)

    ended, said = finish(1, chat_template="a.jinja", max_num_seqs=4)
    assert ended == 0, said
    ended, said = finish(2, chat_template="b.jinja", max_num_seqs=4)
    assert ended == 2
    assert "teacher.vllm.options was" in said
    ended, said = finish(3, chat_template="a.jinja", max_num_seqs=8, enforce_eager=True)
    assert ended == 0, said
    assert "8" in serving.starts[-1]["others"]


def test_what_is_left_to_vllm_is_no_setting_that_was_changed(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {}, rows=2)
    ended, said = serving.finish("--until", "classify")
    assert ended == 0, said
    identity = json.loads((serving.run / "run.json").read_bytes())["identity"]
    serving.folder, old = tmp_path / "other", serving.run
    serving.folder.mkdir()
    (serving.folder / "model").symlink_to(tmp_path / "model")
    ended, said = serving.finish("--from", str(old), "--set", "teacher.vllm.port=8123")
    assert ended == 0, said
    assert json.loads((serving.run / "run.json").read_bytes())["identity"] == identity
    assert serving.starts == [], "the stage that asks was taken over"


def test_nothing_of_a_servers_key_is_in_the_run(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {}, rows=4)
    ended, said = serving.finish()
    assert ended == 0, said
    assert "VLLM_API_KEY" in serving.starts[0]["variables"]
    assert not [name for name in serving.starts[0]["others"] if "key" in name]
