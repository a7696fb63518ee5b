"""Teacher URIs, and which key goes where."""

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.teacher.uri import (
    NO_KEY,
    TeacherURI,
    folder_sha256,
    key_for,
    parse,
    why_no_key,
)

LOCAL = "http://127.0.0.1:8000/v1"
OPENAI = TeacherURI("openai", "m", ("https://api.openai.com/v1",))


@pytest.mark.parametrize(
    ("uri", "environment", "expected"),
    [
        ("offline", {}, TeacherURI("offline", "offline")),
        ("openai:m", {}, OPENAI),
        ("openai:m", {"OPENAI_BASE_URL": LOCAL}, TeacherURI("openai", "m", (LOCAL,))),
        (f"openai:m@{LOCAL}", {"OPENAI_BASE_URL": "x"}, TeacherURI("openai", "m", (LOCAL,))),
        (f"openai:m@{LOCAL}/", {}, TeacherURI("openai", "m", (LOCAL,))),
        (f"openai:m@{LOCAL},https://b/v1", {}, TeacherURI("openai", "m", (LOCAL, "https://b/v1"))),
        ("openai:org/m:7b@http://[::1]:1/v1", {}, TeacherURI("openai", "org/m:7b", ("http://[::1]:1/v1",))),
    ],
)  # fmt: skip
def test_a_uri_is_scheme_model_and_addresses(
    uri: str, environment: dict[str, str], expected: TeacherURI
) -> None:
    assert parse(uri, environment) == expected


@pytest.mark.parametrize(
    "uri",
    ["", "OFFLINE", "offline:m", "openai", "openai:", "openai:@http://h/v1", "openai:m@h:80",
     "gpt-5",
     "openai:m@ftp://h", "openai:m@http://", "openai:m@http://h:0/v1", "openai:m@http://h:x/v1",
     "openai:m@http://[::1/v1", "openai:m@http://a/v1,,http://b/v1", "vllm:m@http://a/v1",
     "batch:m"],
)  # fmt: skip
def test_what_cannot_be_parsed_is_refused(uri: str) -> None:
    with pytest.raises(RecipeError, match=r"teacher|vllm:"):
        parse(uri, {})


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("openai:m@https://me:hunter2@h/v1", {})
    assert "hunter2" not in str(caught.value)


def at(*urls: str) -> TeacherURI:
    return TeacherURI("openai", "m", urls)


@pytest.mark.parametrize(
    ("uri", "named", "environment", "key"),
    [
        (OPENAI, None, {"OPENAI_API_KEY": "sk-1"}, "sk-1"),
        (OPENAI, "env:MINE", {"MINE": "sk-2", "OPENAI_API_KEY": "sk-1"}, "sk-2"),
        (at(LOCAL), None, {}, NO_KEY),
        (at(LOCAL), None, {"OPENAI_API_KEY": "sk-1"}, "sk-1"),
        (at(LOCAL), "env:MINE", {"MINE": "sk-2"}, "sk-2"),
        (at("http://other:8000/v1"), None, {"OPENAI_API_KEY": "sk-1"}, NO_KEY),
        (at("https://other/v1"), None, {"OPENAI_API_KEY": "sk-1"}, "sk-1"),
        (at(LOCAL, "http://other/v1"), None, {"OPENAI_API_KEY": "sk-1"}, NO_KEY),
    ],
)
def test_which_key_is_sent(
    uri: TeacherURI, named: str | None, environment: dict[str, str], key: str
) -> None:
    assert key_for(uri, named, environment) == key


@pytest.mark.parametrize(
    ("uri", "named", "environment", "says"),
    [
        (OPENAI, None, {}, "set OPENAI_API_KEY"),
        (OPENAI, None, {"OPENAI_API_KEY": ""}, "set OPENAI_API_KEY"),
        (OPENAI, "env:MINE", {"OPENAI_API_KEY": "sk-1"}, "MINE is not set"),
        (at(LOCAL), "env:MINE", {}, "MINE is not set"),
        (at(LOCAL, "https://api.openai.com/v1"), None, {}, "set OPENAI_API_KEY"),
        (at("http://other/v1"), "env:MINE", {"MINE": "sk-2"}, "clear text"),
        (at(LOCAL, "http://other/v1"), "env:MINE", {"MINE": "sk-2"}, "clear text"),
    ],
)
def test_a_key_that_is_missing_or_would_go_in_clear_is_said(
    uri: TeacherURI, named: str | None, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        key_for(uri, named, environment)
    assert "sk-" not in str(caught.value)
    assert says != "clear text" or "--set teacher.insecure_http=true" in str(caught.value)


@pytest.mark.parametrize("named", [None, "env:OPENAI_API_KEY"])
def test_a_key_goes_in_clear_text_where_that_is_asked_for_by_name(named: str | None) -> None:
    environment = {"OPENAI_API_KEY": "sk-1"}
    other = at(LOCAL, "http://other:8000/v1")
    assert key_for(other, named, environment, insecure_http=True) == "sk-1"
    assert key_for(other, None, {}, insecure_http=True) == NO_KEY


def test_why_no_key_was_sent_is_said() -> None:
    said = why_no_key(at(LOCAL, "http://other:8000/v1"))
    assert said.startswith("No key was sent: http://other:8000/v1 is plain http to another machine")
    assert "--set teacher.insecure_http=true" in said
    assert why_no_key(at(LOCAL)).startswith("No key was sent: set OPENAI_API_KEY")


def test_a_large_file_of_the_hubs_cache_is_known_by_its_name_there(tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    blobs, snapshot, plain = (tmp_path / name for name in ("blobs", "snapshot", "plain"))
    for folder in (blobs, snapshot, plain):
        folder.mkdir()
    (blobs / digest).write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(blobs / digest)
    (plain / "model.safetensors").write_bytes(content)
    assert folder_sha256(str(snapshot)) == folder_sha256(str(plain))
    (blobs / digest).write_bytes(b"other")  # it is not read for that
    assert folder_sha256(str(snapshot)) == folder_sha256(str(plain))
