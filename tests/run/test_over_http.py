"""The whole recipe over HTTP: 64 requests in flight, a teacher that misbehaves, signals."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InterruptedRunError, SynthError, TeacherError
from tests.conftest import RunSynth
from tests.run import books, processes
from tests.teacher_server.process import Server

WIDE = ("bootstrap.target=60", "bootstrap.window=64", "shard_rows=50", "teacher.concurrency=64")
NARROW = ("bootstrap.target=30", "bootstrap.window=8", "teacher.concurrency=8")
CHAT = {"kind": "chat"}


def uri(server: Server) -> str:
    return f"openai:test-model@{server.url}"


def chat(server: Server, event: str = "request") -> list[dict[str, Any]]:
    """The requests for replies, or what the server did about them, in order."""
    events = server.history()
    asked = {e["req"] for e in events if e["event"] == "request" and e["kind"] == "chat"}
    return [e for e in events if e["event"] == event and e["req"] in asked]


def most_in_flight(server: Server) -> int:
    """From the history alone: the most requests open at one instant."""
    open_now = most = 0
    for event in server.history():
        if event["event"] == "request":
            open_now += 1
            most = max(most, open_now)
        elif event["event"] in ("reply", "cut", "abort"):
            open_now -= 1
    return most


def test_sixty_four_requests_are_in_flight_and_never_more(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": {"median_s": 0.1, "sigma": 0.3}})
    manifest = run_synth(tmp_path / "run", *WIDE, teacher=uri(server))
    assert manifest.status == "finished"
    assert manifest.kept > 0
    assert most_in_flight(server) == 64
    assert len(chat(server)) == len(chat(server, "reply")) == len(books.replied(tmp_path / "run"))


def test_the_books_of_tokens_are_the_servers(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    price = "prices={test-model: {input: 0.15, output: 0.6}}"
    run_synth(tmp_path / "run", *NARROW, price, teacher=uri(server))
    usage = [
        books.stage_json(tmp_path / "run", s)["usage"][0]
        for s in ("bootstrap", "classify", "instances")
    ]
    billed = server.counts()["billed"]
    assert sum(entry["input_tokens"] for entry in usage) == billed["prompt_tokens"]
    assert sum(entry["output_tokens"] for entry in usage) == billed["completion_tokens"]
    assert sum(entry["requests"] for entry in usage) == billed["requests"]
    cost = (billed["prompt_tokens"] * 15 + billed["completion_tokens"] * 60) / 10**8
    assert sum(float(entry["cost_usd"]) for entry in usage) == pytest.approx(cost, rel=1e-12)


def test_a_base_model_is_asked_through_completions(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    run_synth(tmp_path / "run", *NARROW, "teacher.endpoint=completions", teacher=uri(server))
    assert {event["path"] for event in server.history("request")} == {
        "/v1/models",
        "/v1/completions",
    }


def test_several_addresses_share_the_load(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": 0.02})
    both = f"openai:test-model@{server.url},{server.other_url}/v1"
    run_synth(tmp_path / "run", *NARROW, teacher=both)
    by_address: dict[str, int] = {}
    for event in chat(server):
        by_address[event["listener"]] = by_address.get(event["listener"], 0) + 1
    assert len(by_address) == 2
    assert min(by_address.values()) > 0.3 * sum(by_address.values())


def test_a_clean_run_and_one_with_passing_faults_give_the_same_rows(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    settings = (*NARROW, "teacher.timeout_s=2")
    run_synth(tmp_path / "clean", *settings, teacher=uri(server))
    faults = ["status", "rst_before_headers", "rst_mid_body", "close_before_headers", "short_body",
              "empty_choices", "invalid_json", "html", "error_in_200", "null_content"]  # fmt: skip
    rules = [
        {"fault": fault, "match": {"attempt": [2], "probability": 0.06}, "times": 2}
        for fault in faults
    ]
    server.set_plan({"rules": rules})
    run_synth(tmp_path / "faulty", *settings, teacher=uri(server))
    clean, faulty = books.data_files(tmp_path / "clean"), books.data_files(tmp_path / "faulty")
    assert sum(server.counts()["faults"].values()) >= 5
    columns = ("row_id", "instruction", "input", "output")
    for stage in ("bootstrap", "instances", "dedup"):
        ours = [
            [row[c] for c in columns if c in row] for row in books.rows(tmp_path / "faulty", stage)
        ]
        assert ours == [
            [row[c] for c in columns if c in row] for row in books.rows(tmp_path / "clean", stage)
        ]
    assert set(clean) == set(faulty)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"fault": "invalid_json"}, "bad_envelope"),
        ({"fault": "json_array"}, "bad_envelope"),
        ({"fault": "html"}, "bad_envelope"),
        ({"fault": "deep_nesting"}, "bad_envelope"),
        ({"fault": "invalid_utf8"}, "bad_envelope"),
        ({"fault": "error_in_200"}, "error_in_reply"),
        ({"fault": "error_in_200", "message": "\ud800 went wrong"}, "error_in_reply"),
        ({"fault": "empty_choices"}, "no_choices"),
        ({"fault": "null_content"}, "no_text"),
        ({"fault": "tool_calls_only"}, "tool_calls"),
        ({"fault": "wrong_types"}, "no_text"),
        ({"fault": "wrong_types", "variant": "message_text"}, "bad_envelope"),
        ({"fault": "lone_surrogate"}, "bad_text"),
        ({"fault": "refusal"}, "refusal"),
        ({"fault": "refusal", "text": "No \ud800."}, "refusal"),
        ({"fault": "bad_request", "message": "No \ud800 here"}, "bad_request"),
        ({"fault": "finish_content_filter"}, "content_filter"),
        ({"fault": "context_length"}, "bad_request"),
        ({"fault": "long_line"}, "too_large"),
    ],
    ids=lambda value: "-".join(value.values()).encode("ascii", "replace").decode()
    if isinstance(value, dict) else value,
)  # fmt: skip
def test_a_bad_reply_to_one_task_has_a_name_and_leaves_the_others_alone(
    run_synth: RunSynth, server: Server, tmp_path: Path, rule: dict[str, str], reason: str
) -> None:
    source = tmp_path / "tasks.jsonl"
    tasks = [f"Write a line about the number {n} and a river." for n in range(12)]
    source.write_text(
        "".join(json.dumps({"instruction": t}) + "\n" for t in tasks), encoding="utf-8"
    )
    server.set_plan([rule | {"match": {"prompt": "the number 7 and"}}])
    out, settings = (
        tmp_path / "run",
        ("classify.sampling.max_tokens=20", "teacher.max_reply_mib=0.5"),
    )
    run_synth(out, *settings, recipe="classify", input=str(source),
              teacher=uri(server))  # fmt: skip
    (dropped,) = books.rows(out, "classify", "dropped")
    assert dropped["instruction"] == tasks[7]
    assert dropped["drop_reason"] == reason
    kept = [row["instruction"] for row in books.rows(out, "classify")]
    assert kept == tasks[:7] + tasks[8:]
    attempts = 1 if reason in ("refusal", "content_filter", "bad_request") else 3
    assert sum(server.counts()["faults"].values()) == attempts
    assert len(chat(server)) == 11 + attempts
    kept_raw = [record for record in books.records(out) if record["kind"] == "reply"]
    assert len(kept_raw) == 11 + attempts, "every reply is kept, the bad ones too"
    run_synth(out, *settings, recipe="classify", input=str(source),
              teacher=uri(server))  # fmt: skip
    assert len(chat(server)) == 11 + attempts


def test_equal_tasks_are_equal_samples_and_each_is_paid_once(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "tasks.jsonl"
    source.write_text('{"instruction": "Name a river of Asia."}\n' * 6, encoding="utf-8")
    server.set_plan({"latency": 0.05})
    given = {"recipe": "classify", "input": str(source), "teacher": uri(server)}
    run_synth(tmp_path / "run", "teacher.concurrency=4", **given)
    assert len(chat(server)) == 6
    intents = [r for r in books.records(tmp_path / "run") if r["kind"] == "intent"]
    assert [(r["slot"], json.loads(r["note"])["sample"]) for r in intents] == [
        (n, n) for n in range(6)
    ]
    assert len({r["key"] for r in intents}) == 6


def test_equal_tasks_are_paid_once_even_after_kills(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "tasks.jsonl"
    source.write_text('{"instruction": "Name a river of Asia."}\n' * 24, encoding="utf-8")
    server.set_plan({"latency": {"median_s": 0.05, "sigma": 0.9}})
    line = processes.command(tmp_path / "run", ["teacher.concurrency=4"], uri(server))
    line += ["--recipe", "classify", "--input", str(source)]
    for wanted in (4, 12):
        process = processes.start(line)
        processes.wait_until(lambda n=wanted: server.counts().get("replies", 0) >= n, process)
        processes.kill(process)
    assert processes.finish(line) == (0, "")
    books.check(tmp_path / "run")
    assert len(chat(server)) <= 24 + 4 * 2
    assert len({r["key"] for r in books.records(tmp_path / "run") if r["kind"] == "reply"}) == 24


def test_a_word_like_none_in_a_reply_stays_as_it_was_written(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    text = " Say which of none, one or nonetheless fits the gap in the line below."
    server.set_plan({"content": {"mode": "fixed", "text": text}})
    run_synth(tmp_path / "run", "bootstrap.target=1", "bootstrap.window=1", until="bootstrap",
              teacher=uri(server))  # fmt: skip
    (row,) = books.rows(tmp_path / "run", "bootstrap")
    assert row["instruction"] == text.strip()


def test_a_key_that_the_teacher_repeats_is_nowhere_in_the_run(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    key = "sk-canary-5f2b9c"
    server.set_plan([{"fault": "echo_key", "match": {"nth": {"min": 1, "max": 5}}}])
    run_synth(tmp_path / "run", *NARROW, "teacher.key=env:MY_KEY", teacher=uri(server),
              environment={"MY_KEY": key})  # fmt: skip
    assert server.faults("echo_key") == 5
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("kind", ["models", "chat"])
def test_a_refused_key_is_not_repeated_in_the_message(
    run_synth: RunSynth, server: Server, tmp_path: Path, kind: str
) -> None:
    key = "sk-canary-5f2b9c"
    server.set_plan([{"fault": "echo_key_error", "match": {"kind": kind}}])
    with pytest.raises(TeacherError, match="key removed") as caught:
        run_synth(
            tmp_path / "run", *NARROW, teacher=uri(server), environment={"OPENAI_API_KEY": key}
        )
    assert key not in str(caught.value)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_pause_that_the_server_asks_for_is_kept(
    run_synth: RunSynth, server: Server, tmp_path: Path, form: str
) -> None:
    fault = {"fault": "rate_limit", "retry_after": 2, "form": form, "match": {"nth": 30}}
    server.set_plan({"rules": [fault], "latency": 0.01})
    run_synth(tmp_path / "run", *NARROW, teacher=uri(server))
    assert server.faults("rate_limit") == 1
    (limited,) = [e for e in chat(server, "reply") if e["status"] == 429]
    after = [(e["t"] - limited["t"]) / 1e9 for e in chat(server) if e["t"] > limited["t"]]
    pause = 2 if form == "seconds" else 1  # a date has whole seconds
    assert not [s for s in after if 0.1 < s < pause]
    assert min(s for s in after if s > 0.1) < pause + 2 + 1


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "other_model", "model": "half \ud800"},
        {"fault": "status", "message": "half \ud800", "times": 2},
        {"fault": "usage_negative"},
        {"fault": "usage_float"},
        {"fault": "usage_text"},
        {"fault": "wrong_types", "variant": "usage_list"},
        {"fault": "two_choices"},
        {"fault": "bom"},
    ],
    ids=lambda rule: rule.get("variant", rule["fault"]),
)
def test_odd_replies_that_hold_an_answer_are_answers(
    run_synth: RunSynth, server: Server, tmp_path: Path, rule: dict[str, Any]
) -> None:
    server.set_plan([rule])
    run_synth(tmp_path / "run", *NARROW, until="bootstrap", teacher=uri(server))
    assert server.faults(rule["fault"]) > 0
    (usage,) = books.stage_json(tmp_path / "run", "bootstrap")["usage"]
    assert usage["unknown_usage"] == (usage["replies"] if "usage" in str(rule) else 0)


def test_server_errors_pass_and_are_counted(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan([{"fault": "status", "status": 503, "times": 3, "match": {"attempt": 1}}])
    run_synth(tmp_path / "run", *NARROW, until="bootstrap", teacher=uri(server))
    assert server.faults("status") == 3
    (usage,) = books.stage_json(tmp_path / "run", "bootstrap")["usage"]
    assert usage["requests"] == len(chat(server))
    assert usage["requests"] - usage["replies"] == 3
    failures = [r for r in books.records(tmp_path / "run") if r["kind"] == "failure"]
    assert [json.loads(r["note"])["outcome"] for r in failures] == ["status_503"] * 3


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"fault": "unauthorized"}, ("key", "Incorrect API key provided")),
        ({"fault": "forbidden"}, ("Country not supported",)),
        ({"fault": "model_not_found"}, ("test-model", "not exist", "Mend the model's name or")),
        ({"fault": "insufficient_quota"}, ("quota",)),
        (
            {"fault": "bad_request", "code": "unsupported_value", "message":
             "Unsupported value: 'temperature' does not support 0.7 with this model. Only the "
             "default (1) value is supported."},
            ("'temperature'", "bootstrap.sampling.temperature=null"),
        ),
        (
            {"fault": "bad_request", "code": "unsupported_parameter", "message":
             "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
             "'max_completion_tokens' instead."},
            ("'max_tokens'", "teacher.max_tokens_name=max_completion_tokens"),
        ),
        (
            {"fault": "bad_request", "message": "stop: extra inputs are not permitted"},
            ("'stop'", "bootstrap.sampling.stop=[]"),
        ),
    ],
    ids=["401", "403", "404", "quota", "temperature", "max_tokens", "stop"],
)  # fmt: skip
def test_a_refusal_for_good_ends_the_run_within_what_is_in_flight(
    run_synth: RunSynth, server: Server, tmp_path: Path, rule: dict[str, Any], says: tuple[str, ...]
) -> None:
    server.set_plan({"rules": [rule | {"match": {"nth": {"min": 5}}}], "latency": 0.02})
    with pytest.raises(TeacherError) as caught:
        run_synth(tmp_path / "run", *NARROW, teacher=uri(server))
    assert caught.value.exit_code == 5
    for part in says:
        assert part in str(caught.value)
    assert len(chat(server)) <= 4 + 8
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["status"] == "stopped"
    settled = len(books.replied(tmp_path / "run"))
    assert settled == 4
    server.set_plan([])
    before = len(chat(server))
    run_synth(tmp_path / "run", *NARROW, teacher=uri(server))
    assert len(chat(server)) - before == len(books.replied(tmp_path / "run")) - settled


def test_a_refused_key_is_found_before_anything_is_paid(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"keys": ["sk-right"]})
    with pytest.raises(TeacherError, match="refuses the key"):
        run_synth(
            tmp_path / "run",
            *NARROW,
            teacher=uri(server),
            environment={"OPENAI_API_KEY": "sk-wrong"},
        )
    assert chat(server) == []


@pytest.mark.parametrize("is_asked_first", [True, False])
def test_a_key_that_was_not_sent_is_not_called_refused_and_the_flag_sends_it(
    run_synth: RunSynth, server: Server, tmp_path: Path, is_asked_first: bool
) -> None:
    refused = {"fault": "unauthorized", "match": {"nth": {"min": 3}}}
    server.set_plan({"keys": ["sk-right"]} if is_asked_first else {"rules": [refused]})
    elsewhere = uri(server).replace("127.0.0.1", "0.0.0.0")
    given = {"teacher": elsewhere, "environment": {"OPENAI_API_KEY": "sk-right"}}
    with pytest.raises(TeacherError) as caught:
        run_synth(tmp_path / "run", *NARROW, **given)
    said = str(caught.value)
    assert caught.value.exit_code == 5
    assert "refuses (401). No key was sent: http://0.0.0.0" in said
    assert "plain http to another machine" in said
    assert "--set teacher.insecure_http=true" in said
    server.set_plan({"keys": ["sk-right"]})
    run_synth(tmp_path / "run", *NARROW, "teacher.insecure_http=true", **given)
    assert chat(server)


def test_a_teacher_that_is_not_there_means_run_me_again(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.refuse()
    with pytest.raises(InterruptedRunError, match="cannot be reached"):
        run_synth(tmp_path / "run", *NARROW, teacher=uri(server))
    server.accept()
    assert run_synth(tmp_path / "run", *NARROW, teacher=uri(server)).status == "finished"


def test_an_outage_ends_the_run_after_its_limit_and_loses_nothing(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan([{"fault": "status", "match": {"nth": {"min": 20}}}])
    outage = "teacher.outage_limit_s=0.5"
    with pytest.raises(InterruptedRunError, match="has had no answer for") as caught:
        run_synth(tmp_path / "run", *NARROW, outage, teacher=uri(server))
    assert caught.value.exit_code == 75
    server.set_plan([])
    run_synth(tmp_path / "run", *NARROW, teacher=uri(server))
    run_synth(tmp_path / "clean", *NARROW, teacher=uri(server))
    assert books.data_files(tmp_path / "run") == books.data_files(tmp_path / "clean")


def test_two_processes_on_one_run_are_one_run(server: Server, tmp_path: Path) -> None:
    server.set_plan({"latency": 0.4})  # the second has to come while the first is at work
    line = processes.command(tmp_path / "run", NARROW, uri(server))
    first = processes.start(line)
    processes.wait_until(lambda: server.counts().get("requests_chat", 0) > 3, first)
    code, said = processes.finish(line)
    assert code == 8
    assert f"process {first.pid}" in said
    first.communicate(timeout=60)
    assert first.returncode == 0
    books.check(tmp_path / "run")
    assert server.counts()["requests_models"] == 1
    assert len(chat(server)) == len(books.replied(tmp_path / "run"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_ends_the_run_in_good_order(server: Server, tmp_path: Path, name: str) -> None:
    server.set_plan({"latency": {"median_s": 0.2, "sigma": 0.2}})
    out = tmp_path / "run"
    few = ("bootstrap.target=10", *NARROW[1:])
    line = processes.command(out, few, uri(server))
    process = processes.start(line)
    processes.wait_until(lambda: server.counts().get("replies", 0) > 6, process)
    os.kill(process.pid, signal.Signals[name])
    at = time.monotonic_ns()
    if name == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)  # Slurm sends two
    _, said = process.communicate(timeout=30)
    assert process.returncode == 75
    assert f"{name} came" in said
    assert "Traceback" not in said
    assert len(said) < 300
    late = [e for e in chat(server) if e["t"] > at + 0.3e9]
    assert late == []
    assert server.counts().get("aborted", 0) == 0, "what was in flight came back"
    assert len(books.replied(out)) == len(chat(server, "reply")) == len(chat(server))
    if name in ("SIGUSR1", "SIGHUP"):
        return  # going on is the same for all
    server.set_plan([])
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert len(chat(server)) == len(set(books.replied(out))), "nothing was asked twice"


def test_what_does_not_come_back_in_the_grace_is_given_up(server: Server, tmp_path: Path) -> None:
    server.set_plan({"rules": [{"fault": "black_hole", "match": {"nth": {"min": 6}}}]})
    settings = (*NARROW, "teacher.grace_s=0.3")
    process = processes.start(processes.command(tmp_path / "run", settings, uri(server)))
    processes.wait_until(lambda: server.faults("black_hole") >= 3, process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "SIGTERM came" in said) == (75, True)
    assert time.monotonic() - began < 3


def test_a_second_interrupt_ends_at_once(server: Server, tmp_path: Path) -> None:
    server.set_plan({"rules": [{"fault": "black_hole", "match": {"nth": {"min": 6}}}]})
    process = processes.start(processes.command(tmp_path / "run", NARROW, uri(server)))
    processes.wait_until(lambda: server.faults("black_hole") >= 3, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=5)
    assert process.returncode == 75
    assert "Traceback" not in said


def test_a_teacher_that_says_the_same_for_ever_is_a_stall(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    server.set_plan([{"fault": "collapse", "match": {"nth": {"min": 10}}}])
    settings = ("bootstrap.target=500", "bootstrap.window=16", "teacher.concurrency=16")
    with pytest.raises(SynthError, match="not_novel") as caught:
        run_synth(tmp_path / "run", *settings, teacher=uri(server))
    assert caught.value.exit_code == 4
    books.check(tmp_path / "run")
    assert len(chat(server)) < 10 + 200 + 60 + 16
