"""What is sent to a teacher, the key it is journalled under, and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.stage import Measured, Reply

MAX_FLOAT32 = 3.4028234663852886e38
HOLDS = {"embeddings": "data", "score": "tokens"}
"""Which field a reply that is no text has where it is one."""
MAX_TOKENS = 1_000_000_000
"""The most tokens of one request that a stated usage is believed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of one slot, rendered.

    `kind` is the endpoint: chat, completions, embeddings or score. `body` is the JSON body without
    the server's address: model, messages or prompt or input, parameters;
    `content` is its canonical form. `sample` numbers equal contents: those of the conversation
    about the row `row`, or, where that is empty, those of the stage in slot order. `attempt`
    numbers the tries of one slot whose replies could not be used. `template` (name and version),
    `values` and `shown` say how it came to be. `read_as` gives the reply as its stage reads it,
    where it was asked for in another form.
    """

    stage: str
    slot: int
    kind: str
    body: Mapping[str, Any]
    content: bytes
    template: str
    values: Mapping[str, Any]
    shown: tuple[str, ...] = ()
    limit_name: str = "max_tokens"
    row: str = ""
    sample: int = 0
    attempt: int = 0
    read_as: Callable[[Reply], Reply] | None = None

    def key(self) -> bytes:
        """16 bytes that stand for what is asked, about which row, as which sample and attempt."""
        about = f":{self.row}" if self.row else ""
        tail = f"{about}:{self.sample}:{self.attempt}".encode()
        return hashlib.blake2b(self.content + tail, digest_size=16).digest()


def canonical(kind: str, body: Mapping[str, Any]) -> bytes:
    """The kind of call and its body as bytes that are equal for equal calls."""
    text = json.dumps([kind, body], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


@dataclass(frozen=True, slots=True)
class Received:
    """A reply as it came: HTTP status and body; `outcome` names what kept the body from coming."""

    status: int
    raw: bytes
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply's envelope held, and what was billed; tokens are null if not stated."""

    reply: Reply
    model: str
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class BadReply:
    """A reply that holds no usable answer, and why, by a name that people count."""

    outcome: str
    detail: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class Teacher(Protocol):
    """A model that answers calls."""

    name: str
    """The served model's name, as rows and the journal carry it."""

    async def check(self) -> None:
        """Say without paying that the teacher is there; raises `TeacherError` where it is not."""

    async def send(self, call: Call) -> Received:
        """Send one call once. Raises `Unanswered` or `TeacherError`."""

    async def close(self) -> None:
        """Let go of connections."""


class Unanswered(Exception):  # noqa: N818 - it is an outcome, handled where the call is repeated
    """A request that brought no reply for a reason that passes."""

    def __init__(
        self,
        outcome: str,
        detail: str,
        *,
        wait_s: float | None = None,
        is_billed: bool = True,
        is_sent: bool = True,
    ) -> None:
        """`wait_s`: the pause the server asked for; `is_billed`: False where it said no.

        `is_sent`: False where the request never left, so that nobody can have billed it.
        """
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.wait_s = wait_s
        self.is_billed = is_billed and is_sent
        self.is_sent = is_sent


def read_envelope(kind: str, raw: bytes) -> Answer | BadReply:
    """Take a completion's JSON body apart, or that of an embedding or a measurement.

    Anything that is not exactly one whole answer gets a name (`BadReply.outcome`).
    """
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return BadReply("bad_envelope", f"not JSON: {error}"[:200])
    if not isinstance(tree, dict):
        return BadReply("bad_envelope", f"a JSON {type(tree).__name__}, not an object")
    if "error" in tree and not tree.get(HOLDS.get(kind, "choices")):
        return BadReply("error_in_reply", valid(str(tree["error"])[:200]))
    tokens = _usage(tree.get("usage"), writes_text=kind not in HOLDS)
    if kind == "embeddings":
        return _read_vector(tree, tokens)
    if kind == "score":
        return _read_measured(tree, tokens)
    choices = tree.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return BadReply("no_choices", "the reply holds no choices", *tokens)
    choice = choices[0]
    finish = choice.get("finish_reason")
    if kind == "chat":
        message = choice.get("message")
        if not isinstance(message, dict):
            return BadReply("bad_envelope", "the choice holds no message", *tokens)
        if message.get("refusal"):
            return BadReply("refusal", valid(str(message["refusal"])[:200]), *tokens)
        text = message.get("content")
        if text is None and message.get("tool_calls"):
            return BadReply("tool_calls", "the reply only calls tools", *tokens)
    else:
        text = choice.get("text")
    if finish == "content_filter":
        return BadReply("content_filter", "stopped by the server's content filter", *tokens)
    if not isinstance(text, str):
        return BadReply("no_text", "the choice holds no text", *tokens)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return BadReply("bad_text", f"not valid Unicode: {error.reason}", *tokens)
    known = finish if finish in ("stop", "length") else "unknown"
    return Answer(Reply(text, known), valid(str(tree.get("model") or "")), *tokens)


def _read_vector(tree: dict[str, Any], tokens: tuple[int | None, int | None]) -> Answer | BadReply:
    """The one vector of a reply: a list of numbers, all of which float32 can hold."""
    data = tree.get("data")
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return BadReply("no_vector", "the reply holds no data", *tokens)
    if len(data) > 1:
        return BadReply("bad_vector", f"{len(data)} vectors for one text", *tokens)
    found = data[0].get("embedding")
    if not isinstance(found, list) or not found:
        return BadReply("no_vector", "the reply's data holds no list of numbers", *tokens)
    for number, value in enumerate(found):
        if type(value) not in (int, float) or not abs(value) <= MAX_FLOAT32:  # NaN compares as no
            said = f"entry {number} is no number that float32 holds ({type(value).__name__})"
            return BadReply("bad_vector", said, *tokens)
    vector = tuple(map(float, found))
    return Answer(Reply("", vector=vector), valid(str(tree.get("model") or "")), *tokens)


def _read_measured(
    tree: dict[str, Any], tokens: tuple[int | None, int | None]
) -> Answer | BadReply:
    """The measurement of one row: both losses, or none where no token was measured."""
    measured, cut = tree.get("tokens"), tree.get("cut")
    losses: tuple[Any, Any] = (tree.get("loss"), tree.get("loss_alone"))
    if type(measured) is not int or type(cut) is not int or measured < 0 or cut < 0:
        return BadReply("bad_score", "the reply counts no tokens", *tokens)
    for loss in losses:
        is_number = type(loss) in (int, float) and 0 <= loss <= MAX_FLOAT32
        if is_number is not (measured > 0):
            return BadReply("bad_score", f"{loss!r:.40} for {measured} tokens", *tokens)
    why = tree.get("not_measured")
    named = valid(why[:60]) if isinstance(why, str) else ""
    found = Measured(losses[0], losses[1], measured, cut, named)
    return Answer(Reply("", measured=found), valid(str(tree.get("model") or "")), *tokens)


def valid(text: str) -> str:
    """What a server said as text that can be written: JSON may hold half a character."""
    return text.encode(errors="replace").decode()


def _usage(usage: object, *, writes_text: bool) -> tuple[int | None, int | None]:
    """Input and output tokens; null, never 0, where the reply does not state them soundly.

    No prompt is free of tokens, so that 0 of them states nothing; nor does a number that no request
    can have. Where no text is written only the input is stated, and the output is 0.
    """
    if not isinstance(usage, dict):
        return None, None
    n_in, n_out = usage.get("prompt_tokens"), usage.get("completion_tokens") if writes_text else 0
    if type(n_in) is not int or type(n_out) is not int:
        return None, None
    is_sound = 1 <= n_in <= MAX_TOKENS and 0 <= n_out <= MAX_TOKENS
    return (n_in, n_out) if is_sound else (None, None)
