"""A Hugging Face hub on loopback that takes data sets: what its client asks to push, and no more.

Written from what huggingface_hub 2 sends: repositories are made, a commit names its parent, small
files come in the commit, Parquet goes to storage first (LFS) and is named by its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import yaml

TOKEN = "hf_a-token-of-the-stand-in-alone"
REPOSITORY = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+))?)?")
BATCH = re.compile(r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Its files now, whether it is private, and its commits: a number and what was said."""

    is_private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]


@dataclass
class Hub:
    """What was asked (`log`), what is stored, and which requests are to fail: by a piece of path.

    A failure is a status and what is said; `once` names those that fail a single time.
    """

    url: str = ""
    log: list[str] = field(default_factory=list)
    repositories: dict[str, Repository] = field(default_factory=dict)
    storage: dict[str, bytes] = field(default_factory=dict)
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)
    between: Any = None
    """Called before a commit is taken, as if somebody else came first."""

    def make(self, name: str, *, is_private: bool = True) -> Repository:
        found = Repository(is_private)
        found.files[".gitattributes"] = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
        self.repositories[name] = found
        self.commit(name, "initial commit")
        return found

    def commit(self, name: str, said: str) -> str:
        found = self.repositories[name]
        content = repr([sorted(found.files), len(found.commits), said]).encode()
        found.commits.append((hashlib.sha1(content).hexdigest(), said))
        return found.head


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._take()

        def do_POST(self) -> None:
            self._take()

        def do_PUT(self) -> None:
            self._take()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def _take(self) -> None:
            path = unquote(self.path.partition("?")[0])
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            hub.log.append(f"{self.command} {path}")
            for piece, (status, said) in hub.failing.items():
                if piece in f"{self.command} {path}":
                    return self._json({"error": said}, status)
            if path.startswith("/storage/"):  # addressed by who may write; no token goes there
                return self._store(path.rpartition("/")[2], body)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                said = "Invalid credentials in Authorization header"
                return self._json({"error": said}, 401, {"X-Error-Message": said})
            if found := BATCH.fullmatch(path):
                return self._batch(json.loads(body))
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                return self._validate(json.loads(body))
            if found := REPOSITORY.fullmatch(path):
                name, what, _ = found.groups()
                repository = hub.repositories.get(name)
                if repository is None:
                    headers = {"X-Error-Code": "RepoNotFound"}
                    return self._json({"error": "Repository not found"}, 404, headers)
                return self._of(name, repository, what or "info", body)
            return self._json({"error": f"nobody asks {path}"}, 404)

        def _create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            assert asked["type"] == "dataset"
            if name in hub.repositories:
                return self._json({"error": "You already created this dataset repo"}, 409)
            hub.make(name, is_private=asked["visibility"] == "private")
            return self._json({"url": f"{hub.url}/datasets/{name}"})

        def _validate(self, asked: dict[str, Any]) -> None:
            header = yaml.safe_load(asked["content"].split("---\n")[1])
            if isinstance(header.get("license"), str):
                return self._json({"errors": [], "warnings": []})
            errors = [{"message": '"license" must be a string'}]
            return self._json({"errors": errors, "warnings": []}, 400)

        def _of(self, name: str, found: Repository, what: str, body: bytes) -> None:
            if what in ("info", "revision"):
                told = {"id": name, "sha": found.head, "private": found.is_private, "siblings": []}
                return self._json(told)
            if what == "tree":
                return self._json(
                    [
                        {"type": "file", "path": path, "size": len(raw), "oid": "0" * 40}
                        for path, raw in sorted(found.files.items())
                    ]
                )
            if what == "preupload":
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(".parquet") else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                return self._json({"files": modes})
            assert what == "commit"
            return self._commit(name, found, [json.loads(line) for line in body.splitlines()])

        def _batch(self, asked: dict[str, Any]) -> None:
            objects = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{hub.url}/storage/{one['oid']}"}},
                }
                for one in asked["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})

        def _store(self, oid: str, body: bytes) -> None:
            assert "Authorization" not in self.headers
            if hashlib.sha256(body).hexdigest() != oid:
                return self._json({"error": "other bytes"}, 422)
            hub.storage[oid] = body
            return self._json({})

        def _commit(self, name: str, found: Repository, lines: list[dict[str, Any]]) -> None:
            if hub.between is not None:
                hub.between(found)
            head, *operations = lines
            if head["value"].get("parentCommit") not in (None, found.head):
                return self._json({"error": "A commit has happened since. Please refresh."}, 412)
            for one in operations:
                value = one["value"]
                if one["key"] == "file":
                    found.files[value["path"]] = base64.b64decode(value["content"])
                elif one["key"] == "lfsFile":
                    found.files[value["path"]] = hub.storage[value["oid"]]
                else:
                    assert one["key"] == "deletedFile"
                    del found.files[value["path"]]
            sha = hub.commit(name, head["value"]["summary"])
            address = f"{hub.url}/datasets/{name}/commit/{sha}"
            return self._json({"commitUrl": address, "commitOid": sha, "success": True})

        def _json(
            self, tree: object, status: int = 200, headers: dict[str, str] | None = None
        ) -> None:
            raw = json.dumps(tree).encode()
            self.send_response(status)
            given = {"content-type": "application/json", "content-length": str(len(raw))}
            for key, value in (given | (headers or {})).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
