"""Faults in the finished reply: its body's bytes and its headers; it is sent whole."""

import math

from .fault_kinds import Fault, Params
from .replies import Ask, Reply

PAGE = b"<!DOCTYPE html><html><body><h1>Just a moment...</h1></body></html>\n"
NUMBERS = {"nan": b"NaN", "infinity": b"-Infinity", "huge_number": b"1e999"}


def flatten(reply: Reply) -> Reply:
    """Turn a stream's events into one body."""
    if reply.events is not None:
        reply.body, reply.events = b"".join(reply.events), None
    return reply


def html(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send a web page with status 200."""
    return Reply(headers={"Content-Type": "text/html; charset=utf-8"}, body=PAGE)


def empty_body(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send nothing with status 200."""
    return Reply(headers=reply.headers)


def invalid_json(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Break the JSON: its length is declared rightly."""
    body = flatten(reply).body
    match p["variant"]:
        case "cut":
            reply.body = body[: math.ceil(len(body) * 0.6)]
        case "tail":
            reply.body = body + b'{"more":'
        case "single_quotes":
            reply.body = body.replace(b'"', b"'")
        case "text":
            reply.body = b"upstream connect error or disconnect/reset before headers"
        case unknown:
            raise ValueError(f"no variant {unknown!r}")
    return reply


def wrong_number(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Add a number that JSON does not have, or that no float holds."""
    value = NUMBERS[p["number"]]
    flatten(reply).body = reply.body.replace(b"{", b'{"score":%b,' % value, 1)
    return reply


def duplicate_keys(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send a key twice: readers differ in which one they take."""
    flatten(reply).body = reply.body.rstrip()[:-1] + b',"choices":[]}'
    return reply


def deep_nesting(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Nest arrays deeper than a recursive reader can go."""
    nest = b"[" * p["depth"] + b"]" * p["depth"]
    flatten(reply).body = reply.body.replace(b"{", b'{"nest":%b,' % nest, 1)
    return reply


def invalid_utf8(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Put bytes into the text that are no UTF-8: half a character, a stray byte, a surrogate."""
    body = flatten(reply).body
    for mark in (b'"content":"', b'"text":"', b'"'):
        if mark in body:
            reply.body = body.replace(mark, mark + b"\xc3\x28\xff\xed\xa0\x80", 1)
            break
    return reply


def bom(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Start with a byte order mark."""
    flatten(reply).body = b"\xef\xbb\xbf" + reply.body
    return reply


def utf16(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send UTF-16, with or without saying so."""
    flatten(reply).body = reply.body.decode("utf-8", "surrogatepass").encode("utf-16")
    if p["declare"]:
        reply.headers["Content-Type"] = "application/json; charset=utf-16"
    return reply


def latin1_header(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send a header whose value is Latin-1."""
    reply.raw_head = b"X-Served-By: caf\xe9 \xfc\r\n"
    return reply


def wrong_content_type(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send good JSON under another name."""
    reply.headers["Content-Type"] = p["type"]
    return reply


def cookies(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Set a cookie; a client without a jar never sends it back."""
    reply.headers["Set-Cookie"] = p["cookie"]
    return reply


def http10_close(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Answer as HTTP/1.0 does: no length, the end of the connection ends the body."""
    flatten(reply).version = "1.0"
    reply.framing = "close"
    return reply


def chunked(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Send the body in chunks: no fault, and some clients fail."""
    reply.framing = "chunked"
    return reply


def content_length_short(p: Params, ask: Ask, reply: Reply) -> Reply:
    """Declare fewer bytes than are sent; the rest stays in the connection."""
    reply.length = max(len(flatten(reply).body) - p["by"], 0)
    return reply


def sse_no_done(p: Params, ask: Ask, reply: Reply) -> Reply:
    """End a stream without [DONE], and without a finish reason if `drop_finish`."""
    events = [event for event in reply.events or [] if event != b"data: [DONE]\n\n"]
    reply.events = [e for e in events if not p["drop_finish"] or b'"finish_reason":null' in e]
    return reply


def _number(name: str) -> Fault:
    return Fault(name, 29, "bytes", wrong_number, {"number": name})


_COOKIE = {"cookie": "session=canary; Path=/; HttpOnly"}

BYTES_FAULTS = [
    Fault("sse_no_done", 19, "bytes", sse_no_done, {"drop_finish": True}, stream_only=True),
    Fault("html", 20, "bytes", html, {}),
    Fault("empty_body", 20, "bytes", empty_body, {}),
    Fault("invalid_json", 20, "bytes", invalid_json, {"variant": "cut"}),
    Fault("wrong_content_type", 20, "bytes", wrong_content_type, {"type": "text/plain"}),
    Fault("content_length_short", 26, "bytes", content_length_short, {"by": 20}),
    Fault("invalid_utf8", 27, "bytes", invalid_utf8, {}),
    Fault("bom", 27, "bytes", bom, {}),
    Fault("latin1_header", 27, "bytes", latin1_header, {}),
    Fault("utf16", 27, "bytes", utf16, {"declare": False}),
    _number("nan"),
    _number("infinity"),
    _number("huge_number"),
    Fault("duplicate_keys", 29, "bytes", duplicate_keys, {}),
    Fault("deep_nesting", 29, "bytes", deep_nesting, {"depth": 100_000}),
    Fault("cookies", 33, "bytes", cookies, _COOKIE),
    Fault("http10_close", 33, "bytes", http10_close, {}),
    Fault("chunked", 33, "bytes", chunked, {}),
]
