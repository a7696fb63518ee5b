"""Rows 10-12, 14 and 15: a teacher that says wait, no, or nothing at all."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import matrix
from tests.faults.matrix import C, Ran
from tests.run import books, processes
from tests.teacher_server.process import Server, running_server


def plan(*rules: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"content": matrix.THREE_ITEMS, "rules": list(rules), **more}


@pytest.mark.parametrize(("form", "status"), [("seconds", 429), ("date", 503)])
def test_nobody_asks_before_the_pause_is_over_and_then_a_quarter_at_most_at_once(
    server: Server, clean: Ran, tmp_path: Path, form: str, status: int
) -> None:
    """A pause of 2 s: no request in it but those in flight; resumed within s + 2 s."""
    pause = {"fault": "rate_limit", "status": status, "retry_after": 2, "form": form, "hold": True}
    server.set_plan(plan(pause | {"match": {"nth": 10}}, latency=0.02))
    ran = matrix.run(server, tmp_path / "run", until="bootstrap")
    assert ran.code == 0
    assert ran.faults["rate_limit"] == 1
    (refused,) = [e for e in server.history("fault") if e["fault"] == "rate_limit"]
    since = [at - refused["t"] / 1e9 for at in matrix.asked_at(server)]
    assert [at for at in since if 0.1 < at < 2.0] == [], "asked during the pause"
    assert ran.faults["early"] <= C
    resumed = [at for at in since if at >= 2.0]
    assert resumed[0] <= 2.0 + 2.0
    assert len([at for at in resumed if at < 3.0]) <= C / 4
    assert ran.rows("bootstrap") == clean.rows("bootstrap")
    matrix.check_interval(ran, exact=True)


@pytest.mark.parametrize("given", [None, "soon, I think"])
def test_a_refusal_that_does_not_say_how_long_is_asked_again_and_costs_no_row(
    server: Server, clean: Ran, tmp_path: Path, given: str | None
) -> None:
    """All that a header can hold is in tests/teacher/test_waits.py."""
    match = {"nth": [4, 9]}
    server.set_plan(plan({"fault": "rate_limit", "retry_after": given, "match": match}))
    ran = matrix.run(server, tmp_path / "run", until="bootstrap")
    assert ran.code == 0
    assert ran.faults["rate_limit"] == 2
    assert ran.rows("bootstrap") == clean.rows("bootstrap")
    matrix.check_interval(ran, exact=True)


def test_a_pause_of_centuries_is_kept_to_and_the_run_can_be_told_to_end(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "rate_limit", "retry_after": 10**40, "match": {"nth": 20}}))
    process = processes.start(command(server, tmp_path / "run"))
    processes.wait_until(lambda: server.faults("rate_limit") > 0, process)
    time.sleep(0.5)
    asked = server.counts()["requests"]
    time.sleep(0.5)
    assert server.counts()["requests"] == asked
    process.terminate()
    assert process.wait(10) == 75
    process.communicate()


def command(server: Server, out: Path, *settings: str) -> list[str]:
    """The run as a command of its own."""
    return processes.command(out, [*matrix.SHORT, *settings], f"openai:{matrix.MODEL}@{server.url}")


PATIENT = ("teacher.timeout_s=10", "teacher.idle_timeout_s=5")
"""So that a machine with much to do makes no timeout, after which it is asked again."""
FATAL = [
    ("insufficient_quota", "quota"),
    ("unauthorized", "key"),
    ("forbidden", "key"),
    ("model_not_found", "does not exist"),
]


@pytest.mark.parametrize("first", [1, 25])
@pytest.mark.parametrize(("fault", "says"), FATAL)
def test_a_refusal_for_good_ends_the_run_with_5_after_as_many_calls_as_were_open(
    server: Server, clean: Ran, tmp_path: Path, fault: str, says: str, first: int
) -> None:
    server.set_plan(plan({"fault": fault, "match": {"nth": {"min": first}}}, latency=0.02))
    ran = matrix.run(server, tmp_path / "run", *PATIENT)
    assert ran.code == 5
    assert says in str(ran.error)
    assert 1 <= ran.faults[fault] <= C
    assert server.counts().get("asked_again", 0) == 0
    matrix.check_interval(ran)
    server.set_plan(plan())
    again = matrix.run(server, tmp_path / "run", *PATIENT)
    assert again.code == 0
    assert again.requests <= clean.requests - (first - 1) + matrix.WINDOW, "paid twice"
    assert books.data_files(again.out) == books.data_files(clean.out)
    matrix.check_interval(ran, again)


@pytest.mark.parametrize(("fault", "says"), FATAL[1:3])
def test_a_key_that_the_list_of_models_refuses_costs_nothing(
    server: Server, tmp_path: Path, fault: str, says: str
) -> None:
    server.set_plan(plan({"fault": fault, "match": {"kind": "models"}}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.faults[fault] == 1
    assert (ran.code, ran.requests) == (5, 0)
    assert says in str(ran.error)


def test_the_command_ends_with_5_and_one_clear_line(server: Server, tmp_path: Path) -> None:
    server.set_plan(plan({"fault": "insufficient_quota"}))
    code, said = processes.finish(command(server, tmp_path / "run"))
    assert server.faults("insufficient_quota") > 0
    assert code == 5
    assert "quota" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("status", [502, 503, 529])
def test_a_burst_of_failures_is_waited_out_and_no_row_is_lost(
    server: Server, clean: Ran, tmp_path: Path, status: int
) -> None:
    burst = {"fault": "status", "status": status, "html": status == 502, "match": {"until": 1.0}}
    server.set_plan(plan(burst))
    ran = matrix.run(server, tmp_path / "run", "teacher.outage_limit_s=15")
    assert ran.code == 0
    assert ran.faults["status"] >= C
    assert books.data_files(ran.out) == books.data_files(clean.out)
    matrix.check_interval(ran, exact=True)


def test_a_server_that_fails_every_request_is_asked_seldom_then_left_with_75(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    """An outage from request 30 on: at most 3 requests a second once it is known, then 75."""
    server.set_plan(plan({"fault": "status", "status": 503, "match": {"nth": {"min": 30}}}))
    ran = matrix.run(server, tmp_path / "run", "teacher.outage_limit_s=8", deadline_s=30)
    assert ran.code == 75
    assert "same command" in str(ran.error)
    began = server.history("fault")[0]["t"] / 1e9
    later = [at - began for at in matrix.asked_at(server) if at - began > 3]
    assert len(later) <= 3 * (ran.seconds - 3)
    assert 8 <= ran.seconds <= 20
    assert ran.requests <= 29 + C + 20 + ran.seconds
    matrix.check_interval(ran, exact=True)
    server.set_plan(plan())
    again = matrix.run(server, tmp_path / "run")
    assert again.code == 0
    assert books.data_files(again.out) == books.data_files(clean.out)
    matrix.check_interval(ran, again, exact=True)


@pytest.mark.skipif("SYNTH_SOAK" not in os.environ, reason="a minute; set SYNTH_SOAK")
def test_a_minute_of_failures_is_waited_out_seldom_asking_and_no_row_is_lost(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "status", "status": 503, "match": {"until": 60.0}}))
    settings = ("teacher.outage_limit_s=1800",)
    ran = matrix.run(server, tmp_path / "run", *settings, deadline_s=300)
    assert ran.code == 0
    assert ran.faults["status"] > C
    began = server.history("fault")[0]["t"] / 1e9
    struck = [at - began for at in matrix.asked_at(server) if at - began < 60]
    matrix.say(
        f"{len(struck)} requests in the minute, {len([at for at in struck if at > 10])} after 10 s"
    )
    assert len([at for at in struck if at > 10]) <= 3 * 50
    assert books.data_files(ran.out) == books.data_files(clean.out)
    matrix.check_interval(ran, exact=True)


@pytest.mark.skipif("SYNTH_SOAK" not in os.environ, reason="half an hour; set SYNTH_SOAK")
def test_half_an_hour_of_failures_is_asked_seldom_and_left_with_75(
    clean: Ran, tmp_path: Path
) -> None:
    """The outage limit as it is by default; then the same command ends as if nothing had been."""
    with running_server(tmp_path / "history.jsonl", max_seconds=2400) as server:
        server.set_plan(plan({"fault": "status", "status": 503, "match": {"nth": {"min": 30}}}))
        settings = ("teacher.outage_limit_s=1800",)
        ran = matrix.run(server, tmp_path / "run", *settings, deadline_s=2000)
        assert ran.code == 75
        began = server.history("fault")[0]["t"] / 1e9
        struck = [at - began for at in matrix.asked_at(server) if at > began]
        late = [at for at in struck if at > 60]
        matrix.say(
            f"{len(struck)} requests in {struck[-1]:.0f} s, {len(late)} after the first minute"
        )
        assert 1800 <= ran.seconds <= 1800 + 2 * 60
        assert len(late) <= 3 * (struck[-1] - 60)
        matrix.check_interval(ran, exact=True)
        server.set_plan(plan())
        again = matrix.run(server, tmp_path / "run")
        assert again.code == 0
        assert books.data_files(again.out) == books.data_files(clean.out)


def test_connections_refused_for_a_time_are_tried_again_and_cost_nothing(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "refuse_connections", "for_s": 1.0, "match": {"nth": 30}}))
    ran = matrix.run(server, tmp_path / "run", "teacher.outage_limit_s=10")
    assert ran.code == 0
    assert ran.faults["refuse_connections"] == 1
    assert books.data_files(ran.out) == books.data_files(clean.out)
    failures = [r for r in books.records(ran.out) if r["kind"] == "failure"]
    assert any('"unreachable"' in record["note"] for record in failures)
    stated = matrix.ledger(ran.out)
    cut_off = len([r for r in failures if '"unreachable"' not in r["note"]])
    assert cut_off <= C
    assert stated.unknown[1] <= 1024 * cut_off, "a request that never left was taken for spent"
    assert ran.billed["prompt_tokens"] >= stated.confirmed[0]
    assert ran.billed["prompt_tokens"] <= stated.confirmed[0] + stated.unknown[0]


def test_a_server_that_is_gone_is_left_with_75(server: Server, tmp_path: Path) -> None:
    server.refuse()
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 75
    assert "cannot be reached" in str(ran.error)
    assert "Connect" in str(ran.error)
    server.accept()
    assert matrix.run(server, tmp_path / "run").code == 0


def test_a_server_that_goes_for_good_in_mid_run_is_left_with_75_after_the_limit(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    gone = {"fault": "refuse_connections", "for_s": 9.0, "match": {"nth": 30}}
    server.set_plan(plan(gone))
    ran = matrix.run(server, tmp_path / "run", "teacher.outage_limit_s=2")
    assert ran.code == 75
    assert 2 <= ran.seconds <= 8
    failures = [r for r in books.records(ran.out) if r["kind"] == "failure"]
    assert len(failures) <= C + 20 + 8
    server.accept()
    again = matrix.run(server, tmp_path / "run")
    assert again.code == 0
    assert books.data_files(again.out) == books.data_files(clean.out)


def test_a_name_that_nobody_knows_is_75(server: Server, tmp_path: Path) -> None:
    ran = matrix.run(server, tmp_path / "run", url="http://teacher.invalid/v1")
    assert ran.code == 75
    assert "teacher.invalid" in str(ran.error)
    assert ran.requests == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    line = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    line += ["-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"]
    line += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(line, check=True, capture_output=True)
    both = (folder / "key.pem").read_text() + (folder / "cert.pem").read_text()
    (folder / "both.pem").write_text(both)
    return folder


def test_a_certificate_that_nobody_has_signed_is_5_before_any_request(
    certificate: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    with running_server(history, tls_cert=certificate / "both.pem") as server:
        ran = matrix.run(server, tmp_path / "run")
        assert ran.code == 5
        assert "certificate" in str(ran.error)
        assert "SSL_CERT_FILE" in str(ran.error)
        assert "self-signed" in str(ran.error)
        assert server.history("request") == []


def test_a_certificate_that_the_environment_names_is_trusted(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: Ran
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    history = tmp_path / "history.jsonl"
    with running_server(history, plan(), tls_cert=certificate / "both.pem") as server:
        ran = matrix.run(server, tmp_path / "run")
        assert ran.code == 0
        assert books.data_files(ran.out) == books.data_files(clean.out)
