"""What a URI says: `openai:MODEL[@URL,URL]`, `tiny`, `offline`, and models of this machine.

Those are `vllm:FOLDER`, `st:FOLDER` and `hf:FOLDER`, or the same with `ORG/NAME[@REVISION]` for one
of the Hugging Face hub; a folder that is there goes before a model of the same name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline import redact
from pipeline.errors import RecipeError, TeacherError

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""What stands in the Authorization header where there is no key."""
HUB = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?"
)
"""A model of the hub and, after an @, its revision: a branch, a tag or a commit."""
BLOB = re.compile(r"[0-9a-f]{64}")
TRUSTED = (
    "Where that network is trusted,  --set teacher.insecure_http=true  (judge., scorer.) sends the "
    "key all the same."
)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


USER_IN_ADDRESS = (
    "the teacher's address holds a user name or password: put the key into the environment "
    "and name it as teacher.key=env:NAME."
)


@dataclass(frozen=True, slots=True)
class TeacherURI:
    """A parsed teacher URI: the scheme, the served model's name, the servers' addresses.

    A model on this machine has a `folder`, and the `sha256` of its files once they were read. One
    of the hub has its name there as `hub`, and a `revision`: what was named, once it was found its
    commit; its folder is known from then on.
    """

    scheme: str
    model: str
    urls: tuple[str, ...] = ()
    folder: str = ""
    sha256: str = ""
    hub: str = ""
    revision: str = ""

    @property
    def place(self) -> str:
        """Where a model of this machine comes from, as it is named after the scheme."""
        return self.hub or self.folder


def parse(uri: str, environment: Mapping[str, str] | None = None) -> TeacherURI:
    """Take a teacher URI apart.

    Raises `RecipeError` that says how one is written, and `TeacherError` where there is no model
    that vLLM is to serve.
    """
    scheme, colon, rest = uri.partition(":")
    if uri == "offline":
        return TeacherURI("offline", "offline")
    if scheme == "vllm" and "://" in rest:  # not repeated: a key may stand there
        raise RecipeError(
            "a vllm: model is served on this machine and has no address: name a server that runs "
            "already as openai:MODEL@http://host:8000/v1."
        )
    if scheme == "vllm" and colon:
        return _folder("vllm", rest, "a model that vLLM serves")
    if scheme == "st" and colon:
        return _folder("st", rest, "a sentence-transformers model")
    if uri == "tiny":
        return TeacherURI("tiny", "tiny")
    if scheme == "hf" and colon:
        return _folder("hf", rest, "a transformers model")
    if scheme != "openai" or not colon:
        raise RecipeError(
            f"the teacher {uri!r} cannot be parsed: write offline, openai:MODEL, "
            "openai:MODEL@http://host:8000/v1, vllm:FOLDER or vllm:ORG/NAME, for vectors st:FOLDER "
            "or st:ORG/NAME, or for token loss hf:FOLDER, hf:ORG/NAME or tiny."
        )
    model, _, addresses = rest.partition("@")
    if "@" in addresses:  # said before anything that would repeat it
        raise RecipeError(USER_IN_ADDRESS)
    if not model:
        raise RecipeError(f"the teacher {uri!r} names no model: write openai:MODEL.")
    environment = os.environ if environment is None else environment
    urls = addresses.split(",") if addresses else [environment.get("OPENAI_BASE_URL", OPENAI_URL)]
    for url in urls:
        _check_url(model, url)
    return TeacherURI("openai", model, tuple(url.rstrip("/") for url in urls))


def _folder(scheme: str, path: str, holds: str) -> TeacherURI:
    """A model's folder on this machine, called by its last name, or a model of the hub."""
    if path and Path(path).is_dir():
        return TeacherURI(scheme, Path(path).resolve().name or scheme, folder=path)
    if (found := HUB.fullmatch(path)) is not None and ".." not in path:
        return TeacherURI(scheme, found[1], hub=found[1], revision=found[2] or "")
    wrong = TeacherError if scheme == "vllm" else RecipeError  # as where a server lacks its model
    raise wrong(
        f"the teacher {f'{scheme}:{path}'!r} is not there: write {scheme}:FOLDER with the folder "
        f"of {holds} on this machine, or {scheme}:ORG/NAME or {scheme}:ORG/NAME@REVISION for one "
        "of the Hugging Face hub."
    )


def folder_sha256(folder: str, is_read: Callable[[str], bool] = lambda name: True) -> str:
    """One SHA-256 over the names and contents of a model's files, or of those that are read.

    Hidden ones and *.md are left out.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(folder).rglob("*")):
            name = path.relative_to(folder)
            if path.suffix == ".md" or any(part.startswith(".") for part in name.parts):
                continue
            if path.is_file() and is_read(name.as_posix()):
                digest.update(f"{_content_sha256(path)} {name.as_posix()}\n".encode())
    except OSError as error:
        raise RecipeError(f"the teacher's folder {folder} cannot be read: {error}.") from error
    return digest.hexdigest()


def _content_sha256(path: Path) -> str:
    """The SHA-256 of a file; the hub's cache names large ones by it, and they need no reading."""
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and BLOB.fullmatch(blob.name):
        return blob.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_url(model: str, url: str) -> None:
    if "@" in url:
        raise RecipeError(USER_IN_ADDRESS)
    if set(url) & {"?", "#"}:  # not repeated: a key may stand there
        raise RecipeError(
            f"the address of the teacher openai:{model} has a '?' or a '#': name it without. A key "
            "stands in the environment and is named as teacher.key=env:NAME."
        )
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise RecipeError(
            f"the teacher openai:{model} has no usable address: {url!r} is not an http URL."
        )


def key_for(
    parsed: TeacherURI,
    named: str | None,
    environment: Mapping[str, str] | None = None,
    *,
    insecure_http: bool = False,
) -> str:
    """The key to send: from the variable that the recipe names, else OPENAI_API_KEY, else none.

    OPENAI_API_KEY does not go in clear text to another machine unless `insecure_http` says so.
    Raises `RecipeError` where there is none and the recipe names one or the host wants one, or
    where one that the recipe names would go in clear text to another machine.
    """
    environment = os.environ if environment is None else environment
    variable = named.removeprefix("env:") if named else "OPENAI_API_KEY"
    key = environment.get(variable, "")
    redact.remember(key)
    hosts = [urlsplit(url).hostname or "" for url in parsed.urls]
    if not key and named:
        raise RecipeError(f"the recipe names the key {named}, and {variable} is not set.")
    if not key and "api.openai.com" in hosts:
        raise RecipeError(
            "there is no key for api.openai.com: set OPENAI_API_KEY, or name your own server as "
            "openai:MODEL@http://host:8000/v1."
        )
    bare = () if insecure_http else in_clear(parsed)
    if key and named and bare:
        raise RecipeError(f"the key would go in clear text to {bare[0]}: use https. {TRUSTED}")
    return key if key and not bare else NO_KEY


def in_clear(parsed: TeacherURI) -> tuple[str, ...]:
    """The addresses to which everything goes in clear text, past other machines."""
    return tuple(
        url
        for url in parsed.urls
        if url.startswith("http://") and (urlsplit(url).hostname or "") not in LOOPBACK
    )


def why_no_key(parsed: TeacherURI) -> str:
    """What to say where a server wants a key and none was sent to it."""
    if bare := in_clear(parsed):
        return (
            f"No key was sent: {bare[0]} is plain http to another machine, and others could read "
            f"it. Use https. {TRUSTED}"
        )
    return "No key was sent: set OPENAI_API_KEY, or name its variable as teacher.key=env:NAME."
