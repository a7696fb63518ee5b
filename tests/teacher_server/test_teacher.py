"""What the teacher writes when it behaves, and what it witnesses."""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from itertools import combinations
from pathlib import Path

import pytest
from rapidfuzz.distance import LCSseq

from tests.teacher_server.bare_client import (
    KEY,
    address,
    ask,
    chat,
    exchange,
    new_prompt,
    request,
    wait_until_idle,
)
from tests.teacher_server.process import Server, auth_hash, read_history, running_server

# What the teacher writes when it behaves.

PROMPTS = [
    ("Come up with a series of tasks:\n1. Sing.\n2. Count.\n3.", r" [A-Z].*\n4\. [A-Z]"),
    ("Write 3 more tasks like these.\n1. Sing.\n2. Count the hens.", r"3\. [A-Z].*\n4\. [A-Z]"),
    ("...###\n4. Instruction:", r" [A-Z].*\n4\. Input:\n.*\n4\. Output:\n.*\n###\n5\. Instr"),
    ("Task: Sing a song.\nIs it classification?", r"(Yes|No)\Z"),
    ("Is this task a classification?\n\nTask: Sing.\n\nAnswer Yes or No.", r"(Yes|No)\Z"),
    ("Class label: 1\nText: x\n\nClass label: 2\nText: Score it from 0 to 5.", r"Class label: "),
    ("Class label: Spam\nText: x\n\nTask: Is this spam?\n", r"Class label: \w+\nText: "),
    ("Example 1\nInput: x\nOutput: y\n\nTask: Double it.\n", r"(Example 1\nInput: |Output: )"),
    ("Rate the answer on a scale from 0 to 5.\n### Response:\nx", r"[0-5](\.5)?\n[A-Z]"),
    ("#Given Prompt#:\nSing.\n#Rewritten Prompt#:\n", r"[A-Z].*\. [A-Z]"),
    ("Are they the same? Answer Equal or Not Equal.", r"(Not )?Equal\Z"),
    ("What is a whale?", r"The .*\."),
]


@pytest.mark.parametrize(("prompt", "form"), PROMPTS)
def test_the_form_of_a_reply_fits_the_prompt(server: Server, prompt: str, form: str) -> None:
    server.set_plan([])
    assert re.match(form, ask(server, prompt).text())


def test_replies_depend_on_seed_and_request_and_on_nothing_else(tmp_path: Path) -> None:
    prompts = [new_prompt() for _ in range(5)]
    texts = []
    for run, (seed, order) in enumerate([(1, prompts), (1, prompts[::-1]), (2, prompts)]):
        with running_server(tmp_path / f"{run}.jsonl", seed=seed) as fresh:
            texts.append({prompt: ask(fresh, prompt).body for prompt in order})
    assert texts[0] == texts[1]
    assert not set(texts[0].values()) & set(texts[2].values())


def test_a_request_is_the_same_in_any_order_of_keys_and_varies_by_attempt_when_told(
    server: Server,
) -> None:
    server.set_plan({"content": {"vary_by_attempt": True}})
    body = chat(new_prompt(), temperature=1)
    answers = [
        exchange(address(server), request(given)).text()
        for given in (body, dict(reversed(body.items())))
    ]
    one, two = server.history("request")[-2:]
    assert one["hash"] == two["hash"]
    assert (one["attempt"], two["attempt"]) == (1, 2)
    assert answers[0] != answers[1]


def test_thousands_of_instructions_stay_below_the_novelty_threshold(server: Server) -> None:
    server.set_plan({"content": {"items": 300}})
    items = re.split(r"\n?\d+\. ", ask(server, "Go on:\n1. a\n2.").text())
    words = [re.findall("[a-z]+", item.lower()) for item in items]
    assert len(words) == 300
    assert all(4 <= len(w) <= 150 for w in words)
    assert max(
        2 * LCSseq.similarity(a, b) / (len(a) + len(b)) for a, b in combinations(words, 2)
    ) < 0.7  # fmt: skip


def test_usage_limits_and_stops_follow_the_stated_rule(server: Server) -> None:
    server.set_plan({"content": {"mode": "echo"}})
    whole = ask(server, "0123456789ABCDEF STOP tail").json()
    assert whole["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert whole["choices"][0]["finish_reason"] == "stop"
    cut = ask(server, "0123456789ABCDEF STOP tail", max_tokens=2).json()
    assert cut["choices"][0]["message"]["content"] == "01234567"
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert ask(server, "0123456789ABCDEF STOP tail", stop=["STOP"]).text() == "0123456789ABCDEF "
    assert len(ask(server, n=3).json()["choices"]) == 3


def test_a_stream_carries_the_same_text_and_ends_with_done(server: Server) -> None:
    server.set_plan({"content": {"mode": "echo"}})
    prompt = "一二三 streams are cut into pieces, and the pieces join up again."
    answer = ask(server, prompt, stream=True, stream_options={"include_usage": True})
    events = [line[6:] for line in answer.body.decode().split("\n\n") if line]
    assert events.pop() == "[DONE]"
    pieces = [json.loads(event) for event in events]
    assert pieces.pop()["usage"]["total_tokens"] > 0
    text = "".join(p["choices"][0]["delta"].get("content", "") for p in pieces)
    assert text == prompt
    assert pieces[-1]["choices"][0]["finish_reason"] == "stop"


def test_models_embeddings_and_unknown_paths_answer(server: Server) -> None:
    server.set_plan({"models": ["a", "b"]})
    listed = exchange(address(server), request(None, "/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    body = {"model": "e", "input": ["x", "y", "x"]}
    answer = exchange(address(server), request(body, "/v1/embeddings")).json()
    vectors = [item["embedding"] for item in answer["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert exchange(address(server), request(None, "/v1/nothing")).status == 404


def test_keys_and_models_are_checked_when_the_plan_says_so(server: Server) -> None:
    server.set_plan({"keys": ["sk-good"], "known_models_only": True})
    assert ask(server).status == 401
    good = request(chat(new_prompt(), model="other"), key="sk-good")
    assert exchange(address(server), good).status == 404
    good = request(chat(new_prompt()), key="sk-good")
    assert exchange(address(server), good).status == 200


def test_latency_is_held_over_many_connections_at_once(server: Server) -> None:
    server.set_plan({"latency": 0.5})
    socks = [socket.create_connection(address(server), timeout=5) for _ in range(256)]
    start = time.monotonic()
    for sock in socks:
        sock.sendall(request(chat(new_prompt())))
    while server.counts()["in_flight"] < 256 and time.monotonic() - start < 0.4:
        time.sleep(0.01)
    assert server.counts()["in_flight"] == 256
    assert all(sock.recv(1 << 16).startswith(b"HTTP/1.1 200") for sock in socks)
    assert 0.5 <= time.monotonic() - start < 3
    for sock in socks:
        sock.close()


def test_lognormal_latency_has_stragglers_and_depends_on_the_request(server: Server) -> None:
    latency = {"median_s": 0.01, "sigma": 0.3, "straggler_rate": 0.2, "straggler_factor": 10}
    server.set_plan({"latency": latency})
    prompts = [new_prompt() for _ in range(30)]
    waits = [ask(server, prompt).seconds for prompt in prompts]
    assert sorted(waits)[15] < 0.05 < max(waits)


# The witness.


def test_the_history_tells_each_reply_in_order_and_no_secret(server: Server) -> None:
    server.set_plan([])
    start = time.monotonic_ns()
    ask(server)
    end = time.monotonic_ns()
    wait_until_idle(server)
    events = [event for event in server.history() if event["t"] > start]
    assert [e["event"] for e in events if e["event"] != "plan"] == [
        "open", "request", "first_byte", "reply", "bill", "close",
    ]  # fmt: skip
    assert all(start < event["t"] < end + 50_000_000 for event in events)
    reply = next(event for event in events if event["event"] == "reply")
    assert reply["t"] < end
    asked = next(event for event in events if event["event"] == "request")
    assert asked["auth"] == auth_hash(KEY)
    assert "authorization" not in asked["headers"]
    assert KEY not in server.history_path.read_text()


def test_the_history_reaches_the_file_by_itself(server: Server) -> None:
    server.set_plan([])
    prompt = new_prompt()
    ask(server, prompt)
    time.sleep(0.05)
    events = read_history(server.history_path)
    assert events[-1]["event"] in ("bill", "close")


def test_bodies_are_kept_when_asked_for(tmp_path: Path) -> None:
    with running_server(tmp_path / "h.jsonl", keep_bodies=True) as fresh:
        ask(fresh, "remember me")
        (event,) = fresh.history("request")
    assert "remember me" in event["body"]


def test_pipelined_and_chunked_requests_are_understood(server: Server) -> None:
    server.set_plan({"content": {"mode": "echo"}})
    body = json.dumps(chat("in chunks")).encode()
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])
    head = b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = request(chat("first"), close=False) + head + chunks + request(chat("last"))
    answer = exchange(address(server), data)
    assert re.findall(rb'"content":"(.*?)"', answer.raw) == [b"first", b"in chunks", b"last"]


def test_expect_100_continue_is_answered_before_the_body(server: Server) -> None:
    server.set_plan([])
    data = request(chat(new_prompt()), headers={"Expect": "100-continue"})
    head, _, body = data.partition(b"\r\n\r\n")
    with socket.create_connection(address(server), timeout=2) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("how", ["stdin", "signal", "time"])
def test_the_process_always_ends(tmp_path: Path, how: str) -> None:
    path = tmp_path / "h.jsonl"
    with running_server(path, max_seconds=0.3 if how == "time" else 60) as fresh:
        ask(fresh)
        if how == "signal":
            fresh.process.send_signal(signal.SIGTERM)
        if how != "stdin":
            assert fresh.process.wait(5) == 0
    assert fresh.process.returncode == 0
    assert read_history(path)[-1]["event"] == "stop"


def test_a_certificate_that_nobody_knows_is_served(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    pem = tmp_path / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-days", "2", "-keyout", str(pem), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with pem.open("a") as both:
        both.write((tmp_path / "cert.pem").read_text())
    with running_server(tmp_path / "h.jsonl", tls_cert=pem) as fresh:
        assert fresh.url.startswith("https://")
        strict = ssl.create_default_context()
        with (
            socket.create_connection(address(fresh), timeout=2) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            strict.wrap_socket(sock, server_hostname="127.0.0.1")
        strict.check_hostname = False
        strict.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(address(fresh), timeout=2) as sock,
            strict.wrap_socket(sock) as secure,
        ):
            secure.sendall(request(chat(new_prompt())))
            assert secure.recv(1 << 16).startswith(b"HTTP/1.1 200")
