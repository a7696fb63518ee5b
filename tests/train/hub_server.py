"""A Hugging Face hub on loopback with one model: what `snapshot_download` asks, and no more."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def laid_out(cache: Path, name: str, folder: Path, commit: str, ref: str = "main") -> Path:
    """Put a model's folder into a cache as the hub's own client does: blobs, links, refs."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    (place / "blobs").mkdir(parents=True, exist_ok=True)
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        blob = place / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / ref).write_text(commit)
    return snapshot


@contextmanager
def running(name: str, folder: Path, commit: str, log: list[str]) -> Iterator[str]:
    """Serve `folder` as the model `name` at `commit`, called main; `log` gets what is asked."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            log.append(f"{self.command} {path}")
            resolve = f"/{name}/resolve/{commit}/"
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                self._json({"id": name, "sha": commit, "siblings": [], "private": False})
            elif path == f"/api/models/{name}/tree/{commit}":
                self._json(
                    [
                        {"type": "file", "path": one, "size": len(raw), "oid": _etag(raw)}
                        for one, raw in files.items()
                    ]
                )
            elif path.startswith(resolve) and (raw := files.get(path[len(resolve) :])) is not None:
                self._answer(raw, {"ETag": f'"{_etag(raw)}"', "X-Repo-Commit": commit})
            else:
                headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such model"}
                self._answer(b"{}", headers, status=404)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def _json(self, tree: object) -> None:
            self._answer(json.dumps(tree).encode(), {"content-type": "application/json"})

        def _answer(self, raw: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in (headers | {"content-length": str(len(raw))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _etag(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(raw), raw)).hexdigest()
