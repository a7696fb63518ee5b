"""Well-formed replies: envelopes of the OpenAI protocol, and the HTTP bytes that carry them.

Tokens are counted by one stated rule: UTF-8 bytes of a text divided by 4, rounded up; a chat prompt
costs 4 more for each message. `max_tokens` cuts a text at 4 bytes a token.
"""

import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256, shake_256
from typing import Any

from .content import MODES, Dice

CREATED = 1_700_000_000  # a wall clock would make replies differ
REASONS = {
    100: "Continue", 200: "OK", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 413: "Content Too Large", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 529: "Site Overloaded",
}  # fmt: skip


@dataclass(slots=True)
class Ask:
    """One request as the server understood it."""

    request_id: int
    kind: str  # chat, completion, embedding, models or other
    method: str
    path: str
    body: dict[str, Any]
    digest: str  # of path and body, whatever the order of keys or the spacing
    headers: dict[bytes, bytes]
    attempt: int = 1  # of this digest
    nth: int = 0  # of all requests since the plan was set
    prompt: str = ""
    key: str = ""
    listener: str = "main"
    admitted: bool = False  # passed key, limiter and refusing faults: generation began
    billed: bool = False
    bill: tuple[int, int] = (0, 0)  # tokens of prompt and completion
    fault: str = ""  # what was done to it
    other_url: str = ""  # a second host, for redirects

    @property
    def stream(self) -> bool:
        """Whether server-sent events were asked for."""
        return self.body.get("stream") is True

    @property
    def max_tokens(self) -> int | None:
        """The most completion tokens that were asked for, null if no limit."""
        limit = self.body.get("max_completion_tokens", self.body.get("max_tokens"))
        return limit if isinstance(limit, int) and not isinstance(limit, bool) else None


@dataclass(slots=True)
class Reply:
    """One answer before it becomes bytes; faults change it at each of its stages."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    events: list[bytes] | None = None  # of a stream: one piece each
    raw_head: bytes = b""  # extra header lines that need not be ASCII
    date: str | None = None
    version: str = "1.1"
    length: int | None = None  # what Content-Length claims, when not the truth
    framing: str = "length"  # or "chunked" or "close"

    def head(self) -> bytes:
        """Status line and headers, with the empty line that ends them."""
        lines = [
            f"HTTP/{self.version} {self.status} {REASONS.get(self.status, 'Status')}",
            f"Date: {self.date or http_date()}",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.framing == "chunked" or self.events is not None:
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "length":
            lines.append(
                f"Content-Length: {len(self.body) if self.length is None else self.length}"
            )
        else:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n" + self.raw_head + b"\r\n"

    def pieces(self) -> list[bytes]:
        """The body as it goes over the wire, cut where it may be paused."""
        if self.events is not None:
            return [chunk(event) for event in self.events] + [b"0\r\n\r\n"]
        if self.framing == "chunked":
            return [*(chunk(part) for part in split(self.body, 512)), b"0\r\n\r\n"]
        return [self.body]

    def wire(self) -> bytes:
        """Everything at once."""
        return b"".join([self.head(), *self.pieces()])


def chunk(data: bytes) -> bytes:
    """Frame `data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def split(data: bytes, size: int) -> list[bytes]:
    """Cut `data` into pieces of at most `size` bytes."""
    return [data[i : i + size] for i in range(0, len(data), size)]


_date = (0, "")


def http_date(shift_s: float = 0) -> str:
    """The time now in HTTP's format, formatted once a second."""
    global _date
    now = int(time.time() + shift_s)
    if shift_s:
        return formatdate(now, usegmt=True)
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


def to_json(value: object) -> bytes:
    """Compact JSON; what UTF-8 cannot hold is escaped."""
    try:
        return _utf8_encoder(value).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


_utf8_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def request_digest(path: str, body: object) -> str:
    """Hash what is asked: 32 hex digits, the same for any order of keys and any spacing."""
    return sha256(f"{path}\0{_canonical(body)}".encode()).hexdigest()[:32]


def tokens(text: str) -> int:
    """UTF-8 bytes divided by 4, rounded up."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def _part_text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def prompt_of(kind: str, body: dict[str, Any]) -> str:
    """The text that is answered: all messages joined by newlines, or the prompt."""
    if kind == "chat":
        messages = body.get("messages")
        if not isinstance(messages, list):
            return ""
        return "\n".join(_part_text(m.get("content")) for m in messages if isinstance(m, dict))
    given = body.get("input" if kind == "embedding" else "prompt", "")
    return given if isinstance(given, str) else "\n".join(str(part) for part in given)


def prompt_tokens(ask: Ask) -> int:
    """Tokens of the prompt, by the rule that this module states."""
    messages = ask.body.get("messages")
    overhead = 4 * len(messages) if ask.kind == "chat" and isinstance(messages, list) else 0
    return tokens(ask.prompt) + overhead


def write_text(ask: Ask, index: int, seed: int, settings: dict[str, Any]) -> str:
    """What the teacher writes as choice `index`, before `stop` and `max_tokens`."""
    salt = b"%d" % ask.attempt if settings.get("vary_by_attempt") else b""
    dice = Dice(b"%d|%b|%d|%b" % (seed, ask.digest.encode(), index, salt))
    return MODES[settings.get("mode", "auto")](dice, ask.prompt, settings)


def cut_text(text: str, ask: Ask) -> tuple[str, str]:
    """Apply `stop` and `max_tokens`; returns the text and its finish reason."""
    stops = ask.body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    limit = ask.max_tokens
    if limit is not None and tokens(text) > limit:
        raw = text.encode("utf-8", "surrogatepass")[: 4 * limit]
        return raw.decode("utf-8", "ignore"), "length"
    return text, "stop"


def envelope(ask: Ask, texts: list[str]) -> dict[str, Any]:
    """The JSON object of a chat completion or a completion, with truthful usage."""
    choices: list[dict[str, Any]] = []
    spent = 0
    for index, whole in enumerate(texts):
        text, reason = cut_text(whole, ask)
        spent += tokens(text)
        choice: dict[str, Any] = {"index": index}
        if ask.kind == "chat":
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        choice["logprobs"] = None
        choice["finish_reason"] = reason
        choices.append(choice)
    asked = prompt_tokens(ask)
    ask.bill = (asked, spent)
    prefix, what = (
        ("chatcmpl", "chat.completion") if ask.kind == "chat" else ("cmpl", "text_completion")
    )
    return {
        "id": f"{prefix}-{ask.digest[:24]}-{ask.attempt}",
        "object": what,
        "created": CREATED,
        "model": ask.body.get("model", "test-model"),
        "choices": choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": spent,
            "total_tokens": asked + spent,
        },
    }


def embeddings(ask: Ask, dimensions: int = 8) -> dict[str, Any]:
    """Small vectors of length 1: the sum of one a word, so that texts of like words are near."""
    given = ask.body.get("input", "")
    texts = [given] if isinstance(given, str) else list(given)
    data = []
    for index, text in enumerate(texts):
        words = [word.strip(".,:;!?").lower() for word in str(text).split()] or [""]
        digests = [
            shake_256(word.encode("utf-8", "surrogatepass")).digest(dimensions) for word in words
        ]
        vector = [sum(bytes_of) / 127.5 - len(words) for bytes_of in zip(*digests, strict=True)]
        norm = sum(x * x for x in vector) ** 0.5
        vector = [round(x / norm, 6) for x in vector]
        data.append({"object": "embedding", "index": index, "embedding": vector})
    spent = sum(tokens(str(text)) for text in texts)
    ask.bill = (spent, 0)
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    model = ask.body.get("model", "test-embedding")
    return {"object": "list", "data": data, "model": model, "usage": usage}


def models(names: list[str]) -> dict[str, Any]:
    """The list of models."""
    data = [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "tests"} for name in names
    ]
    return {"object": "list", "data": data}


def error(status: int, message: str, code: str | None = None, kind: str | None = None) -> Reply:
    """An error in the form that OpenAI's servers send."""
    inner = {
        "message": message,
        "type": kind or ("server_error" if status >= 500 else "invalid_request_error"),
        "param": None,
        "code": code,
    }
    headers = {"Content-Type": "application/json"}
    return Reply(status=status, headers=headers, body=to_json({"error": inner}))


def stream_events(ask: Ask, whole: dict[str, Any], done: bool = True) -> list[bytes]:
    """Cut an envelope into server-sent events, 24 characters of text each.

    An envelope without proper choices becomes one event as it is.
    """
    base = {name: value for name, value in whole.items() if name not in ("choices", "usage")}
    base["object"] = "chat.completion.chunk" if ask.kind == "chat" else "text_completion"
    payloads: list[dict[str, Any]] = []
    try:
        for choice in whole["choices"]:
            index = choice["index"]
            chat = ask.kind == "chat"
            text = choice["message"]["content"] if chat else choice["text"]
            for at in range(0, max(len(text), 1), 24):
                part = text[at : at + 24]
                delta = {"delta": {"content": part}} if chat else {"text": part}
                piece = {"index": index, **delta, "finish_reason": None}
                payloads.append({**base, "choices": [piece]})
            last: dict[str, Any] = {"index": index, **({"delta": {}} if chat else {"text": ""})}
            if "finish_reason" in choice:
                last["finish_reason"] = choice["finish_reason"]
            payloads.append({**base, "choices": [last]})
    except (KeyError, TypeError, IndexError):
        payloads = [{**whole, "object": base["object"]}]
    options = ask.body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") and "usage" in whole:
        payloads.append({**base, "choices": [], "usage": whole["usage"]})
    events = [b"data: %b\n\n" % to_json(payload) for payload in payloads]
    return [*events, b"data: [DONE]\n\n"] if done else events
