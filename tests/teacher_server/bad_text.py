"""Faults in what the teacher wrote; the envelope around it is right."""

from typing import Any

from .content import Dice, instruction, numbered
from .fault_kinds import Fault, Params
from .replies import Ask

BAD_JSON = {
    "nan": '{"score": NaN}',
    "infinity": '{"score": -Infinity}',
    "huge_number": '{"score": 1e999}',
    "duplicate_keys": '{"score": 1, "score": 5}',
    "lone_surrogate": '{"score": "\\ud800"}',
}


def same_reply(p: Params, ask: Ask, text: str) -> str:
    """Write the same whatever was asked."""
    return str(p["text"])


def collapse(p: Params, ask: Ask, text: str) -> str:
    """Write lists in the right form that hold only one and the same few instructions."""
    dice = Dice(ask.digest.encode())
    return numbered(dice, ask.prompt, {"duplicate_rate": 1, "items": p["items"]})


def garbage(p: Params, ask: Ask, text: str) -> str:
    """Write nonsense of a kind that depends on the request."""
    dice = Dice(b"garbage" + ask.digest.encode())
    kinds: list[str] = [
        "".join(chr(33 + dice.below(94)) for _ in range(p["size"])),
        "".join(chr(0x4E00 + dice.below(20000)) for _ in range(p["size"])),
        "\n" * p["size"],
        "",
        "- " * p["size"],
        '{"' + instruction(dice),
        (instruction(dice) + " ") * 20,
        "### ```\n9. \n10. \n11. ",
    ]
    return kinds[dice.below(len(kinds))]


def insert(p: Params, ask: Ask, text: str) -> str:
    """Put characters into the text."""
    at = {"start": 0, "middle": len(text) // 2, "end": len(text)}[p["at"]]
    return text[:at] + str(p["text"]) + text[at:]


def echo_key(p: Params, ask: Ask, text: str) -> str:
    """Repeat the caller's key in the text."""
    return f"{text} Your key is {ask.key}."


def json_text(p: Params, ask: Ask, text: str) -> str:
    """Write JSON that strict readers refuse."""
    if p["variant"] == "deep_nesting":
        depth = int(p["depth"])
        return "[" * depth + "]" * depth
    return BAD_JSON[str(p["variant"])]


def _inserts(name: str, characters: str) -> Fault:
    return Fault(name, 28, "text", insert, {"text": characters, "at": "middle"})


_SAME: dict[str, Any] = {"text": "Describe the same old thing in the same old words."}

TEXT_FAULTS = [
    _inserts("lone_surrogate", "\ud800"),
    _inserts("nul", "\x00"),
    _inserts("control_chars", "\x01\x07\x08\x1b[31m\x1b]8;;http://x\x07\x7f\x85\x9b2J"),
    _inserts("bidi", "\u202egnp.exe\u202c\u2066\u2067\u200b\u200f\u2069"),
    _inserts("noncharacter", "\uffff\ufffe\U0010ffff"),
    Fault("json_text", 29, "text", json_text, {"variant": "nan", "depth": 100_000}),
    Fault("same_reply", 30, "text", same_reply, _SAME),
    Fault("collapse", 31, "text", collapse, {"items": 8}),
    Fault("garbage", 32, "text", garbage, {"size": 200}),
    Fault("echo_key", 33, "text", echo_key, {}),
]
