"""A server on loopback that scores as vLLM does: /v1/models, /tokenize, /v1/completions.

It computes one unpadded row at a time with a model that it is given, so that what a client makes of
its answers can be compared with the model itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def running(model: Any, tokenizer: Any, context: int, log: list[str]) -> Iterator[str]:
    """Serve until the block ends; gives the base URL. `log` gets the path of each request."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({"object": "list", "data": [{"id": "m", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                log.append(self.path)
                self._answer(_tokenize(body) if self.path == "/tokenize" else _complete(body))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def _answer(self, tree: dict[str, Any]) -> None:
            raw = json.dumps(tree).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def _tokenize(body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            found = tokenizer.apply_chat_template(
                body["messages"], add_generation_prompt=body["add_generation_prompt"]
            )["input_ids"]
        else:
            found = tokenizer(body["prompt"], add_special_tokens=body["add_special_tokens"])
            found = found["input_ids"]
        return {"tokens": list(found), "count": len(found), "max_model_len": context}

    def _complete(body: dict[str, Any]) -> dict[str, Any]:
        import torch

        ids = body["prompt"]
        assert len(ids) + body["max_tokens"] <= context
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        rows = torch.log_softmax(logits, dim=-1)
        found: list[Any] = [None]
        for place, token in enumerate(ids[1:]):
            found.append({str(token): {"logprob": float(rows[place, token]), "rank": 1}})
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1}
        choice = {"index": 0, "text": "", "finish_reason": "length", "prompt_logprobs": found}
        return {"model": "m", "choices": [choice], "usage": usage}

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that lets go of its connection is nothing to report."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
