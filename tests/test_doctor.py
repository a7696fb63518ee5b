"""`doctor`: what is installed and who can be reached."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.doctor import examine, installed, requirements

KEY = "sk-a-secret-that-must-not-be-shown"


class Handler(BaseHTTPRequestHandler):
    """A server of models: /v1 answers, /refuses says 401 and repeats the key, /bare says 404."""

    def do_GET(self) -> None:
        status = 401 if "refuses" in self.path else 404 if "bare" in self.path else 200
        said = {"error": {"message": f"bad key {self.headers['Authorization']} \x1b[31m"}}
        body = json.dumps({"object": "list", "data": []} if status == 200 else said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def line(text: str, wanted: str) -> str:
    return next(one for one in text.splitlines() if wanted in one)


def test_every_dependency_is_listed_with_its_version() -> None:
    text, is_well = examine(())
    assert is_well
    core, _ = requirements()
    assert {"polars", "pyarrow", "openai", "aiohttp", "typer"} <= set(core)
    for name in core:
        assert installed(name) in line(text, f"  {name} ").split()


def test_every_extra_is_listed_and_a_missing_one_with_its_pip_line() -> None:
    text, _ = examine(())
    _, extras = requirements()
    assert {"data", "metrics", "train", "quant", "vllm", "notebook", "test", "dev"} <= set(extras)
    assert "torch" in extras["train"]
    assert "torch" in extras["test"]  # an extra made of others
    for extra, names in extras.items():
        if any(installed(name) is None for name in names):
            assert f"pip install '.[{extra}]'" in line(text, f"  {extra} ")
        else:
            assert "installed" in line(text, f"  {extra} ")


def test_a_missing_dependency_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "synth-9.dist-info").mkdir()
    (tmp_path / "synth-9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: synth\nVersion: 9\n"
        "Requires-Dist: polars>=1\nRequires-Dist: no-such-package>=2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text, is_well = examine(())
    assert not is_well
    assert "missing" in line(text, "no-such-package")
    assert "missing" not in line(text, "  polars ")


def test_keys_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "OPENAI_API_KEY not set" in examine(())[0]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_API_KEY", KEY)
    text, _ = examine(())
    assert "OPENAI_API_KEY set" in text
    assert "OTHER_API_KEY" in text
    assert KEY not in text


def test_the_offline_teacher_is_always_ready() -> None:
    text, is_well = examine(("offline",))
    assert is_well
    assert "ready: offline" in text


@pytest.mark.parametrize("path", ["v1", "bare"])
def test_a_server_that_answers_is_reachable(server: str, path: str) -> None:
    text, is_well = examine((f"openai:m@{server}/{path}",))
    assert is_well, text
    assert f"  reachable: m at {server}/{path}" in text


def test_a_server_that_refuses_the_key_is_not_and_the_key_is_not_repeated(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    text, is_well = examine((f"openai:m@{server}/refuses",))
    assert not is_well
    assert "NOT reachable" in text
    assert "refuses the key" in text
    assert KEY not in text
    assert "\x1b" not in text


def test_a_key_that_is_not_sent_over_plain_http_is_not_called_refused(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    elsewhere = server.replace("127.0.0.1", "0.0.0.0")  # this machine, not known for it
    text, is_well = examine((f"openai:m@{elsewhere}/refuses",))
    assert not is_well
    assert "refuses the key" not in text
    assert f"No key was sent: {elsewhere}/refuses is plain http to another machine" in text
    assert "teacher.insecure_http=true" in text
    assert KEY not in text


def test_a_server_that_is_not_there_is_not_reachable() -> None:
    text, is_well = examine(("openai:m@http://127.0.0.1:9/v1",))
    assert not is_well
    assert "NOT reachable: m at http://127.0.0.1:9/v1" in text


def test_each_of_several_servers_is_looked_at(server: str) -> None:
    text, is_well = examine((f"openai:m@{server}/v1,http://127.0.0.1:9/v1",))
    assert not is_well
    assert f"  reachable: m at {server}/v1" in text
    assert "NOT reachable: m at http://127.0.0.1:9/v1" in text


@pytest.mark.parametrize("uri", ["nonsense", "openai:", "openai:m@ftp://x", "openai:m"])
def test_a_teacher_that_cannot_be_used_says_why(uri: str) -> None:
    text, is_well = examine((uri,))
    assert not is_well
    assert f"NOT usable: {uri}" in text


def test_disk_and_seed_tasks_are_named() -> None:
    text, _ = examine(())
    assert "GiB" in line(text, "free disk")
    assert "175" in line(text, "seed tasks")


def test_the_compiled_code_is_made_ready_and_its_place_is_named() -> None:
    from filters.compiled import place
    from filters.novelty import kernels

    text, _ = examine(())
    said = line(text, "  compiled code  ")
    assert kernels.stream.signatures  # compiled or read
    kept_in = place(kernels.stream)
    assert kept_in is not None
    assert [*kept_in.glob("kernels.stream-*.nbi")]
    assert said.endswith(f" s, kept in {kept_in}")


@pytest.mark.parametrize(("where", "code"), [("v1", 0), ("refuses", 2)])
def test_the_command_ends_with_2_where_something_is_wrong(
    server: str, where: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    line = ["doctor", "--teacher", f"openai:m@{server}/{where}"]
    assert CliRunner().invoke(app, line).exit_code == code
