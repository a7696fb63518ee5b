"""The teacher behind the listener: takes requests, decides, answers, keeps the books."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from time import monotonic
from typing import Any

from .history import History
from .plan import Plan, Rule
from .protocol import Connection
from .replies import (
    Ask,
    Reply,
    embeddings,
    envelope,
    error,
    models,
    prompt_of,
    prompt_tokens,
    request_digest,
    stream_events,
    to_json,
    tokens,
    write_text,
)

KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/embeddings": "embedding",
    "/v1/models": "models",
}
SHOWN_HEADERS = (b"idempotency-key", b"x-stainless-retry-count", b"x-request-id", b"host")
SECRET_HEADERS = {b"authorization", b"api-key", b"x-api-key", b"proxy-authorization"}


def report_failure(task: asyncio.Task[None]) -> None:
    """Tell the loop at once about a fault that failed."""
    if not task.cancelled() and task.exception() is not None:
        context = {"message": "a fault failed", "exception": task.exception()}
        task.get_loop().call_exception_handler(context)


class Teacher:
    """One teacher; its listeners share it."""

    def __init__(self, history: History, plan: Plan, seed: int, keep_bodies: bool = False) -> None:
        self.history = history
        self.plan = plan
        self.seed = seed
        self.keep_bodies = keep_bodies
        self.other_url = ""
        self.connections: set[Connection] = set()
        self.attempts: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.in_flight = 0
        self.held_until: dict[str, float] = {}
        self._header_names: dict[tuple[bytes, ...], str] = {}
        self._auth_hashes: dict[bytes, str] = {}
        # set by whoever owns the listeners
        self.close_listener: Callable[[float | None], None] | None = None

    # the protocol calls these

    def opened(self, wire: Connection) -> None:
        """Note an accepted connection."""
        self.connections.add(wire)
        self.counters["connections"] += 1
        open_now = len(self.connections)
        self.counters["peak_connections"] = max(self.counters["peak_connections"], open_now)
        self.history.line("open", f',"conn":{wire.number},"listener":"{wire.listener}"')

    def closed(self, wire: Connection) -> None:
        """Note a connection's end, and what was broken off by it."""
        self.connections.discard(wire)
        ask = wire.ask
        if ask is not None:
            self.in_flight -= 1
            self.counters["aborted"] += 1
            self.history.line(
                "abort", f',"conn":{wire.number},"req":{ask.request_id},"sent":{wire.bytes_out}'
            )
            if self.plan.bill_on_abort:
                self.bill(ask, "abort")
        self.history.line("close", f',"conn":{wire.number}')

    def wrote_first(self, wire: Connection) -> None:
        """Note the first byte of an answer."""
        assert wire.ask is not None
        self.history.line("first_byte", f',"conn":{wire.number},"req":{wire.ask.request_id}')

    def wrote_all(self, wire: Connection, status: int) -> None:
        """Note that a whole answer is in the kernel's hands."""
        ask = wire.ask
        assert ask is not None
        self.in_flight -= 1
        self.counters["replies"] += 1
        fault = f',"fault":"{ask.fault}"' if ask.fault else ""
        self.history.line(
            "reply",
            f',"conn":{wire.number},"req":{ask.request_id},"hash":"{ask.digest}",'
            f'"status":{status},"bytes":{wire.bytes_out}{fault}',
        )
        self.bill(ask, "reply")

    def cut(self, wire: Connection) -> None:
        """Note that the server itself ends an answer before its end."""
        ask = wire.ask
        assert ask is not None
        self.in_flight -= 1
        self.counters["cut"] += 1
        self.history.line(
            "cut",
            f',"conn":{wire.number},"req":{ask.request_id},"hash":"{ask.digest}",'
            f'"sent":{wire.bytes_out},"fault":"{ask.fault}"',
        )
        self.bill(ask, "cut")

    def take(
        self, wire: Connection, method: str, target: str, headers: dict[bytes, bytes], body: bytes
    ) -> None:
        """Answer one request, at once or after the latency."""
        ask, problem = self._understand(wire, method, target, headers, body)
        wire.ask = ask
        self.in_flight += 1
        self.counters["peak_in_flight"] = max(self.counters["peak_in_flight"], self.in_flight)
        refusal = problem or self._refuse(wire, ask)
        if refusal is not None:
            wire.respond(refusal)
            return
        rule = self.plan.choose(ask, self.seed)
        if rule is not None and rule.fault is not None and rule.fault.stage == "refuse":
            self._apply_refusal(wire, ask, rule)
            return
        limited, limit_headers = self._limit(ask)
        if limited is not None:
            self._note_fault(wire, ask, "limiter", {"retry_after": limited.headers["Retry-After"]})
            wire.respond(limited)
            return
        ask.admitted = True
        delay = self.plan.delay_s(ask, self.seed)
        if delay > 0:
            loop = asyncio.get_running_loop()
            wire.timer = loop.call_later(delay, self._answer, wire, ask, rule, limit_headers)
        else:
            self._answer(wire, ask, rule, limit_headers)

    def refuse(self, for_s: float | None) -> None:
        """Close the main listener for a time."""
        if self.close_listener is not None:
            self.close_listener(for_s)

    # the steps of an answer

    def _understand(
        self, wire: Connection, method: str, target: str, headers: dict[bytes, bytes], raw: bytes
    ) -> tuple[Ask, Reply | None]:
        path = target.partition("?")[0]
        kind = KINDS.get(path, "other")
        problem: Reply | None = None
        body: Any = {}
        if raw:
            try:
                body = json.loads(raw)
            except (ValueError, RecursionError):
                problem = error(400, "the body is not JSON")
            if not isinstance(body, dict):
                body, problem = {}, error(400, "the body is not a JSON object")
        number = self.counters["requests"] = self.counters["requests"] + 1
        digest = request_digest(path, body if problem is None else raw.decode("latin-1"))
        self.attempts[digest] += 1
        ask = Ask(number, kind, method, path, body, digest, headers, self.attempts[digest])
        ask.listener = wire.listener
        ask.other_url = self.other_url
        if kind in ("chat", "completion", "embedding") and method == "POST":
            self.plan.nth += 1
            ask.nth = self.plan.nth
            ask.prompt = prompt_of(kind, body)
        elif kind == "other":
            problem = problem or error(404, f"no such path: {path}")
        elif kind != "models":
            problem = problem or error(405, f"{method} is not possible here")
        authorization = headers.get(b"authorization", b"")
        ask.key = authorization.removeprefix(b"Bearer ").decode("latin-1")
        self.counters[f"requests_{kind}"] += 1
        if ask.attempt > 1:
            self.counters["asked_again"] += 1
        self._note_request(wire, ask, authorization, raw)
        return ask, problem

    def _note_request(self, wire: Connection, ask: Ask, authorization: bytes, raw: bytes) -> None:
        names = tuple(ask.headers)
        shown = self._header_names.get(names)
        if shown is None:
            kept = [n.decode("latin-1") for n in names if n not in SECRET_HEADERS]
            shown = self._header_names[names] = json.dumps(kept)
        auth = "null"
        if authorization:
            if authorization not in self._auth_hashes:
                self._auth_hashes[authorization] = f'"{sha256(authorization).hexdigest()}"'
            auth = self._auth_hashes[authorization]
        values = ",".join(
            f"{quote(name.decode())}:{quote(ask.headers[name].decode('latin-1'))}"
            for name in SHOWN_HEADERS
            if name in ask.headers
        )
        body = f',"body":{quote(raw.decode("utf-8", "replace"))}' if self.keep_bodies else ""
        self.history.line(
            "request",
            f',"conn":{wire.number},"req":{ask.request_id},"kind":"{ask.kind}",'
            f'"path":{quote(ask.path)},"hash":"{ask.digest}","attempt":{ask.attempt},'
            f'"nth":{ask.nth},"model":{quote(str(ask.body.get("model", "")))},'
            f'"stream":{"true" if ask.stream else "false"},"bytes":{len(raw)},'
            f'"listener":"{ask.listener}","auth":{auth},"headers":{shown},'
            f'"values":{{{values}}}{body}',
        )

    def _refuse(self, wire: Connection, ask: Ask) -> Reply | None:
        plan = self.plan
        if plan.keys is not None and ask.key not in plan.keys:
            self._note_fault(wire, ask, "wrong_key", {})
            return error(401, "Incorrect API key provided", "invalid_api_key")
        wait = self.held_until.get(ask.key, 0.0) - monotonic()
        if wait > 0:
            self.counters["early"] += 1
            self._note_fault(wire, ask, "early", {"wait_s": round(wait, 3)})
            reply = error(429, "asked to wait", "rate_limit_exceeded", "requests")
            reply.headers["Retry-After"] = str(math.ceil(wait))
            return reply
        if plan.known_models_only and ask.nth and ask.body.get("model") not in plan.models:
            self._note_fault(wire, ask, "unknown_model", {})
            return error(404, "The model does not exist", "model_not_found")
        return None

    def _apply_refusal(self, wire: Connection, ask: Ask, rule: Rule) -> None:
        assert rule.fault is not None
        self._note_fault(wire, ask, rule.fault.name, rule.params)
        reply: Reply = rule.fault.apply(rule.params, ask)
        if rule.params.get("hold"):
            self.held_until[ask.key] = monotonic() + float(rule.params["retry_after"])
        if rule.params.get("bill"):
            ask.admitted = True
            ask.bill = (prompt_tokens(ask), 0)
        wire.respond(reply)

    def _limit(self, ask: Ask) -> tuple[Reply | None, dict[str, str]]:
        limiter = self.plan.limiter
        if limiter is None or not ask.nth:
            return None, {}
        texts = "" if ask.kind == "embedding" else self._texts(ask)[0]
        wait, headers = limiter.admit(ask.key, prompt_tokens(ask) + tokens(texts))
        if wait is None:
            return None, headers
        reply = error(429, "Rate limit reached", "rate_limit_exceeded", "requests")
        reply.headers.update(headers)
        reply.headers["Retry-After"] = str(math.ceil(wait))
        reply.headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        return reply, headers

    def _texts(self, ask: Ask) -> list[str]:
        seed = self.seed if self.plan.seed is None else self.plan.seed
        wanted = ask.body.get("n")
        n = wanted if isinstance(wanted, int) and 1 <= wanted <= 128 else 1
        return [write_text(ask, index, seed, self.plan.content) for index in range(n)]

    def _answer(
        self, wire: Connection, ask: Ask, rule: Rule | None, headers: dict[str, str]
    ) -> None:
        fault = rule.fault if rule is not None else None
        params = rule.params if rule is not None else {}
        stage = fault.stage if fault is not None else ""
        if fault is not None:
            self._note_fault(wire, ask, fault.name, params)
        reply = Reply(headers={"Content-Type": "application/json", **headers})
        reply.headers["x-request-id"] = f"req_{ask.request_id}"
        if ask.kind in ("models", "embedding"):
            whole = models(self.plan.models) if ask.kind == "models" else embeddings(ask)
        else:
            texts = self._texts(ask)
            if fault is not None and stage == "text":
                texts = [fault.apply(params, ask, text) for text in texts]
            whole = envelope(ask, texts)
        if fault is not None and stage == "json":
            whole = fault.apply(params, ask, whole)
        if ask.stream and ask.kind in ("chat", "completion"):
            reply.headers["Content-Type"] = "text/event-stream; charset=utf-8"
            reply.events = stream_events(ask, whole)
        else:
            reply.body = to_json(whole)
        if fault is not None and not params.get("bill", fault.bills):
            ask.billed = True  # nothing will be
        if fault is not None and stage == "bytes":
            reply = fault.apply(params, ask, reply) or reply
        if fault is not None and stage == "wire":
            wire.task = asyncio.get_running_loop().create_task(
                fault.apply(params, ask, reply, wire)
            )
            wire.task.add_done_callback(report_failure)
            return
        wire.respond(reply)

    # the books

    def _note_fault(self, wire: Connection, ask: Ask, name: str, params: dict[str, Any]) -> None:
        self.faults[name] += 1
        ask.fault = name
        self.history.event(
            "fault",
            conn=wire.number,
            req=ask.request_id,
            hash=ask.digest,
            attempt=ask.attempt,
            fault=name,
            params=params,
        )

    def bill(self, ask: Ask, why: str) -> None:
        """Put a request's tokens on the account, once, if generation had begun."""
        if ask.billed or not ask.admitted or not ask.nth:
            return
        ask.billed = True
        if ask.bill == (0, 0) and why == "abort":
            self._generate_for_bill(ask)
        asked, written = ask.bill
        self.billed["requests"] += 1
        self.billed["prompt_tokens"] += asked
        self.billed["completion_tokens"] += written
        self.history.line(
            "bill",
            f',"req":{ask.request_id},"hash":"{ask.digest}",'
            f'"model":{quote(str(ask.body.get("model", "")))},"prompt_tokens":{asked},'
            f'"completion_tokens":{written},"why":"{why}"',
        )

    def _generate_for_bill(self, ask: Ask) -> None:
        """The client left while the teacher was writing: all of the text is billed."""
        if ask.kind == "embedding":
            embeddings(ask)
        elif ask.kind in ("chat", "completion"):
            envelope(ask, self._texts(ask))

    def counts(self) -> dict[str, Any]:
        """Every counter."""
        return {
            **self.counters,
            "in_flight": self.in_flight,
            "open_connections": len(self.connections),
            "distinct_requests": len(self.attempts),
            "faults": dict(self.faults),
            "billed": dict(self.billed),
        }
