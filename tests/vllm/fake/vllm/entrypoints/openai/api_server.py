"""Stands for vLLM's OpenAI server: its command line, its pages, its ways to fail.

`FAKE_VLLM` is a JSON object that says what goes wrong, `FAKE_VLLM_FOLDER` a folder to which each
start appends a line of `starts.jsonl`. An engine of its own, which takes no notice of SIGTERM, is
started beside it, as vLLM's is.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = json.loads(os.environ.get("FAKE_VLLM", "{}"))
ENGINE = ["sh", "-c", "trap '' TERM; sleep 600"]


def parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser()
    for name in ("model", "served-model-name", "host", "api-key"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--port", type=int)
    return parser.parse_known_args()


def note(others: list[str], given: argparse.Namespace, engine: int) -> int:
    """Write down this start; gives which it is, from 1."""
    starts = Path(os.environ["FAKE_VLLM_FOLDER"]) / "starts.jsonl"
    line = {
        "pid": os.getpid(),
        "engine": engine,
        "port": given.port,
        "others": others,
        "variables": sorted(os.environ),
    }
    with starts.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return len(starts.read_text(encoding="utf-8").splitlines())


def say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def fail(*lines: str) -> None:
    say(*lines)
    os._exit(1)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    given, others = parsed()
    engine = subprocess.Popen(ENGINE)
    number = note(others, given, engine.pid)
    say(f"INFO 11-21 12:00:00 [utils.py:1] start {number} of {given.model}")
    if "ends_after_s" in FAULTS:
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(FAULTS["ends_after_s"]), os._exit(0)))
    if "at_start" in FAULTS:
        fail(*FAULTS["at_start"])
    if FAULTS.get("killed_at_start"):
        os.kill(os.getpid(), signal.SIGKILL)
    if number <= FAULTS.get("port_taken", 0):
        fail("OSError: [Errno 98] error while attempting to bind: address already in use")
    time.sleep(FAULTS.get("starts_after_s", 0))
    state = {"posts": 0, "dead": False}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(503 if state["dead"] or FAULTS.get("never_well") else 200, "")
            elif self.path == "/metrics":
                figures = ("num_requests_running", 2), ("num_requests_waiting", 1)
                written = ("generation_tokens_total", state["posts"])
                page = "".join(
                    f'vllm:{name}{{engine="0"}} {n}.0\n' for name, n in (*figures, written)
                )
                self.answer(200, page)
            else:
                self.answer(200, json.dumps({"object": "list", "data": []}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.headers.get("authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
                self.answer(401, json.dumps({"error": "Unauthorized"}))
                return
            with lock:
                state["posts"] += 1
                posts = state["posts"]
            if posts == FAULTS.get("dies_at"):
                fail("(EngineCore pid=7) ERROR 11-21 12:00:00 [core.py:1] AssertionError: head_dim",
                     "EngineDeadError: EngineCore encountered an issue.")  # fmt: skip
            if posts >= FAULTS.get("engine_dead_at", 1 << 40):
                state["dead"] = True
            if posts > FAULTS.get("quick", 0):
                time.sleep(FAULTS.get("answers_after_s", 0))
            if state["dead"]:
                self.answer(500, json.dumps({"error": {"message": "EngineCore is dead"}}))
            elif "messages" in body and "refuses_chat" in FAULTS:
                self.answer(400, json.dumps({"error": {"message": FAULTS["refuses_chat"]}}))
            else:
                self.answer(200, json.dumps(self.reply(body)))

        def reply(self, body: dict) -> dict:
            text = FAULTS.get("says", "Yes")
            if "response_format" in body:
                text = FAULTS.get("says_by_schema", '{"rating": 4.5, "reason": "It is right."}')
            choice = {"index": 0, "finish_reason": "stop"}
            if "messages" in body:
                choice["message"] = {"role": "assistant", "content": text}
            else:
                choice["text"] = text
            return {
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2},
            }

        def answer(self, status: int, text: str) -> None:
            raw = text.encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    Server((given.host, given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
