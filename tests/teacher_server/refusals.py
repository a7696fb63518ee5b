"""Faults that answer instead of the teacher: nothing is generated, nothing is billed."""

import math
import time
from email.utils import formatdate

from .fault_kinds import Fault, Params
from .replies import Ask, Reply, error


def rate_limit(p: Params, ask: Ask) -> Reply:
    """Ask to wait: Retry-After as seconds, as an HTTP date, as any text, or not at all."""
    reply = error(p["status"], "Rate limit reached for requests", "rate_limit_exceeded", "requests")
    wait = p["retry_after"]
    now = int(time.time() + p["clock_shift_s"])
    if p["clock_shift_s"]:
        reply.date = formatdate(now, usegmt=True)
    if wait is not None and p["form"] == "date":
        reply.date = formatdate(now, usegmt=True)
        reply.headers["Retry-After"] = formatdate(now + math.ceil(wait), usegmt=True)
    elif wait is not None:
        is_whole = isinstance(wait, float) and wait.is_integer()
        reply.headers["Retry-After"] = str(int(wait)) if is_whole else str(wait)
    if p["ms"] and isinstance(wait, int | float):
        reply.headers["retry-after-ms"] = str(int(wait * 1000))
    return reply


def status(p: Params, ask: Ask) -> Reply:
    """Fail with any status; as a gateway's HTML page if `html`."""
    reply = error(p["status"], p["message"], p["code"])
    if p["html"]:
        reply.headers["Content-Type"] = "text/html"
        title = f"{p['status']} {p['message']}"
        reply.body = f"<html><head><title>{title}</title></head></html>\n".encode()
    if p["retry_after"] is not None:
        reply.headers["Retry-After"] = str(p["retry_after"])
    return reply


def redirect(p: Params, ask: Ask) -> Reply:
    """Point to another host, where the same teacher listens and notes what it is sent."""
    to = p["to"] or ask.other_url + ask.path
    return Reply(status=p["status"], headers={"Location": to, "Content-Type": "text/plain"})


def echo_key_error(p: Params, ask: Ask) -> Reply:
    """Refuse the key and repeat it, in the message and in a header."""
    reply = error(p["status"], f"Incorrect API key provided: {ask.key}.", "invalid_api_key")
    reply.headers["X-Debug-Authorization"] = f"Bearer {ask.key}"
    return reply


_STATUS = {"status": 500, "message": "The server had an error", "code": None, "html": False}
_STATUS["retry_after"] = None


def _refusal(name: str, row: int, code: int, message: str, label: str | None) -> Fault:
    params = {**_STATUS, "status": code, "message": message, "code": label}
    return Fault(name, row, "refuse", status, params)


_RATE_LIMIT = {
    "status": 429,
    "retry_after": None,  # seconds, or any text
    "form": "seconds",  # or "date"
    "ms": False,  # retry-after-ms too
    "clock_shift_s": 0,  # how wrong the server's Date is
    "hold": False,  # refuse this key until the time is over; counts who comes early
}

REFUSALS = [
    Fault("rate_limit", 10, "refuse", rate_limit, _RATE_LIMIT),
    _refusal("insufficient_quota", 12, 429, "You exceeded your quota", "insufficient_quota"),
    _refusal("unauthorized", 12, 401, "Incorrect API key provided", "invalid_api_key"),
    _refusal("forbidden", 12, 403, "Country not supported", "unsupported_country"),
    _refusal("model_not_found", 12, 404, "The model does not exist", "model_not_found"),
    _refusal("bad_request", 12, 400, "Invalid value", "invalid_value"),
    _refusal("context_length", 12, 400, "Too many tokens", "context_length_exceeded"),
    Fault("status", 14, "refuse", status, _STATUS),
    Fault("redirect", 33, "refuse", redirect, {"status": 307, "to": None}),
    Fault("echo_key_error", 33, "refuse", echo_key_error, {"status": 401}),
]
