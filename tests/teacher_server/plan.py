"""What goes wrong and when: rules read from JSON, decided by request and attempt.

A plan is a list of rules, or an object with `rules` and the settings of `Plan`. The first rule that
matches a request decides; its `fault` may be "none". A rule is
`{"fault": NAME, "match": {...}, "times": N, PARAMETER: ...}`.
"""

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from math import exp
from time import monotonic
from typing import Any

from .content import MODES, Dice
from .fault_kinds import Fault
from .faults import FAULTS
from .limiter import Limiter, parse_limiter
from .replies import Ask

MATCHES = {
    "kind", "path", "method", "attempt", "nth", "every", "hash", "prompt", "model", "key",
    "stream", "probability", "after", "until", "listener",
}  # fmt: skip


class PlanError(ValueError):
    """The plan names something that does not exist."""


def _holds(wanted: object, value: int | str | bool) -> bool:
    """Compare with one value, a list of them, or {"min": .., "max": ..}."""
    if isinstance(wanted, dict):
        low, high = wanted.get("min", value), wanted.get("max", value)
        return bool(low <= value <= high)
    if isinstance(wanted, list):
        return value in wanted
    return bool(wanted == value)


@dataclass
class Rule:
    """One line of a plan."""

    fault: Fault | None
    match: dict[str, Any]
    params: dict[str, Any]
    times: int | None
    fired: int = 0

    def matches(self, ask: Ask, seed: int, index: int, elapsed_s: float) -> bool:
        """Whether the rule applies; random parts depend on the request and attempt alone."""
        match = self.match
        if self.times is not None and self.fired >= self.times:
            return False
        if self._cannot_apply(ask):
            return False
        if "kind" not in match and "path" not in match and not ask.nth:
            return False  # without a kind, only requests that generate
        if "listener" not in match and ask.listener != "main":
            return False  # where a redirect leads, nothing is wrong
        facts = {
            "kind": ask.kind, "path": ask.path, "method": ask.method, "attempt": ask.attempt,
            "nth": ask.nth, "model": ask.body.get("model", ""), "key": ask.key,
            "stream": ask.stream, "listener": ask.listener,
        }  # fmt: skip
        for name, wanted in match.items():
            if name in facts and not _holds(wanted, facts[name]):
                return False
        if "every" in match and ask.nth % match["every"]:
            return False
        hashes = match.get("hash", "")
        if not ask.digest.startswith(tuple(hashes) if isinstance(hashes, list) else hashes):
            return False
        if not match.get("after", 0) <= elapsed_s < match.get("until", float("inf")):
            return False
        if "prompt" in match and not re.search(match["prompt"], ask.prompt):
            return False
        if "probability" in match:
            drawn = sha256(f"{seed}|{index}|{ask.digest}|{ask.attempt}".encode()).digest()
            return bool(int.from_bytes(drawn[:7]) / (1 << 56) < match["probability"])
        return True

    def _cannot_apply(self, ask: Ask) -> bool:
        """Whether the fault is one of texts or of streams, and the request has none."""
        fault = self.fault
        if fault is None:
            return False
        is_text = ask.kind in ("chat", "completion")
        return (fault.stream_only and not ask.stream) or (
            fault.stage in ("text", "json") and not is_text
        )


@dataclass
class Plan:
    """The rules, and how the teacher behaves where no rule applies."""

    rules: list[Rule] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)  # mode, items, text, duplicate_rate...
    latency: float | dict[str, float] = 0.0
    limiter: Limiter | None = None
    keys: list[str] | None = None  # the only bearer keys let in; null lets all in
    models: list[str] = field(default_factory=lambda: ["test-model"])
    known_models_only: bool = False
    bill_on_abort: bool = True
    seed: int | None = None  # of contents; null keeps the server's
    started: float = field(default_factory=monotonic)
    nth: int = 0  # requests counted since this plan was set

    def choose(self, ask: Ask, seed: int) -> Rule | None:
        """Find the rule for a request, and count it as fired."""
        if not self.rules:
            return None
        elapsed_s = monotonic() - self.started
        for index, rule in enumerate(self.rules):
            if rule.matches(ask, seed, index, elapsed_s):
                rule.fired += 1
                return rule if rule.fault is not None else None
        return None

    def delay_s(self, ask: Ask, seed: int) -> float:
        """How long the teacher thinks about a request: a function of request and attempt."""
        if not isinstance(self.latency, dict):
            return self.latency
        settings = self.latency
        dice = Dice(b"%d|%b|%d|latency" % (seed, ask.digest.encode(), ask.attempt))
        normal = sum(dice.below(65536) for _ in range(12)) / 65536 - 6
        delay = settings["median_s"] * exp(settings.get("sigma", 0.5) * normal)
        if dice.chance(settings.get("straggler_rate", 0)):
            delay *= settings.get("straggler_factor", 10)
        return min(delay, settings.get("max_s", float("inf")))


def parse_rule(data: dict[str, Any]) -> Rule:
    """Read one rule; whatever is unknown in it raises PlanError."""
    if not isinstance(data, dict):
        raise PlanError(f"a rule is an object, not {data!r}")
    rest = dict(data)
    name = rest.pop("fault", None)
    match = rest.pop("match", {})
    times = rest.pop("times", None)
    if unknown := set(match) - MATCHES:
        raise PlanError(f"unknown match {sorted(unknown)}; known: {sorted(MATCHES)}")
    if name == "none":
        return Rule(None, match, {}, times)
    if name not in FAULTS:
        raise PlanError(f"unknown fault {name!r}; known: {', '.join(FAULTS)}")
    fault = FAULTS[name]
    if unknown := set(rest) - set(fault.params) - {"bill"}:
        raise PlanError(f"{name} has no parameter {sorted(unknown)}; it has {list(fault.params)}")
    params = {**fault.params, **rest}
    if params.get("hold") and not isinstance(params["retry_after"], int | float):
        raise PlanError("hold needs retry_after as a number of seconds")
    return Rule(fault, match, params, times)


def parse_plan(data: object) -> Plan:
    """Read a plan from parsed JSON; whatever is unknown in it raises PlanError."""
    if data is None:
        data = []
    if isinstance(data, list):
        data = {"rules": data}
    if not isinstance(data, dict):
        raise PlanError("a plan is a list of rules or an object")
    given = dict(data)
    rules = [parse_rule(rule) for rule in given.pop("rules", [])]
    if given.get("content", {}).get("mode", "auto") not in MODES:
        raise PlanError(f"unknown mode; known: {', '.join(MODES)}")
    try:
        limiter = parse_limiter(given.pop("limiter", None))
        return Plan(rules=rules, limiter=limiter, **given)
    except TypeError as problem:
        raise PlanError(str(problem)) from problem


def load_plan(text: str) -> Plan:
    """Read a plan from JSON text."""
    try:
        return parse_plan(json.loads(text))
    except json.JSONDecodeError as problem:
        raise PlanError(f"not JSON: {problem}") from problem
