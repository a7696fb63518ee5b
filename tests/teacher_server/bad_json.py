"""Faults in the envelope: JSON that parses and is not what the protocol promises."""

from typing import Any

from .fault_kinds import Fault, Params
from .replies import Ask, prompt_tokens

Envelope = dict[str, Any]


def empty_choices(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Send no choice."""
    return {**whole, "choices": []}


def missing_choices(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Leave the choices out."""
    return {name: value for name, value in whole.items() if name != "choices"}


def _set_text(ask: Ask, choice: dict[str, Any], text: object) -> None:
    if ask.kind == "chat":
        choice["message"]["content"] = text
    else:
        choice["text"] = text


def null_content(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Send null where the text belongs."""
    for choice in whole["choices"]:
        _set_text(ask, choice, None)
    return whole


def tool_calls_only(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Call a tool that nobody offered."""
    function = {"name": "look_up", "arguments": "{}"}
    for choice in whole["choices"]:
        _set_text(ask, choice, None)
        call = {"id": "call_1", "type": "function", "function": function}
        choice.setdefault("message", {"role": "assistant", "content": None})["tool_calls"] = [call]
        choice["finish_reason"] = "tool_calls"
    return whole


def refusal(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Refuse in the field made for it."""
    for choice in whole["choices"]:
        _set_text(ask, choice, None)
        message = choice.setdefault("message", {"role": "assistant", "content": None})
        message["refusal"] = p["text"]
    return whole


def long_line(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Send one very long line, whatever `max_tokens` says."""
    for choice in whole["choices"]:
        _set_text(ask, choice, "word " * (p["characters"] // 5))
    return whole


def two_choices(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Send a second choice that was not asked for."""
    first = whole["choices"][0]
    second = {**first, "index": len(whole["choices"])}
    if ask.kind == "chat":
        second["message"] = {**first["message"], "content": "A second choice."}
    else:
        second["text"] = "A second choice."
    return {**whole, "choices": [*whole["choices"], second]}


def wrong_index(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Number the choices wrongly."""
    for choice in whole["choices"]:
        choice["index"] += p["by"]
    return whole


def other_model(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Say that another model answered."""
    return {**whole, "model": p["model"]}


def finish_reason(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Give another reason for the end, and cut the text if `cut`."""
    for choice in whole["choices"]:
        if p["value"] == "absent":
            del choice["finish_reason"]
        else:
            choice["finish_reason"] = p["value"]
        if p["cut"]:
            text = choice["message"]["content"] if ask.kind == "chat" else choice["text"]
            _set_text(ask, choice, text[: int(len(text) * p["keep"])])
    return whole


def error_in_200(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Report an error with status 200."""
    inner = {"message": p["message"], "type": "server_error", "code": p["code"]}
    return {"error": inner}


def usage(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Lie about the tokens. What is billed stays true, except over `max_tokens`: that is billed."""
    truth = whole["usage"]
    match p["variant"]:
        case "missing":
            del whole["usage"]
            return whole
        case "null":
            lie: Any = None
        case "zero":
            lie = dict.fromkeys(truth, 0)
        case "negative":
            lie = {name: -n for name, n in truth.items()}
        case "float":
            lie = {name: n + 0.5 for name, n in truth.items()}
        case "text":
            lie = {name: str(n) for name, n in truth.items()}
        case "over_max":
            written = (ask.max_tokens or truth["completion_tokens"]) * p["factor"]
            asked = prompt_tokens(ask)
            ask.bill = (asked, written)
            lie = {
                "prompt_tokens": asked,
                "completion_tokens": written,
                "total_tokens": asked + written,
            }
        case "bad_total":
            lie = {**truth, "total_tokens": truth["total_tokens"] + 1}
        case unknown:
            raise ValueError(f"no variant {unknown!r}")
    return {**whole, "usage": lie}


def json_array(p: Params, ask: Ask, whole: Envelope) -> Any:
    """Send the envelope inside an array."""
    return [whole]


def json_scalar(p: Params, ask: Ask, whole: Envelope) -> Any:
    """Send a bare value."""
    return p["value"]


def wrong_types(p: Params, ask: Ask, whole: Envelope) -> Envelope:
    """Send values of types that the protocol does not allow."""
    first = whole["choices"][0]
    match p["variant"]:
        case "content_number":
            _set_text(ask, first, 42)
        case "content_list":
            _set_text(ask, first, ["a", {"b": 1}])
        case "message_text":
            first["message"] = "just text"
            first.pop("text", None)
        case "choices_text":
            whole["choices"] = "none"
        case "choices_object":
            whole["choices"] = {"0": first}
        case "choice_null":
            whole["choices"] = [None]
        case "usage_list":
            whole["usage"] = [1, 2, 3]
        case "id_null":
            whole["id"] = whole["model"] = None
        case unknown:
            raise ValueError(f"no variant {unknown!r}")
    return whole


def _reason(name: str, value: str | None, cut: bool) -> Fault:
    return Fault(name, 23, "json", finish_reason, {"value": value, "cut": cut, "keep": 0.6})


def _usage(variant: str) -> Fault:
    return Fault(f"usage_{variant}", 25, "json", usage, {"variant": variant, "factor": 3})


_ERROR = {"message": "Upstream overloaded", "code": 503}

JSON_FAULTS = [
    Fault("json_array", 20, "json", json_array, {}),
    Fault("json_scalar", 20, "json", json_scalar, {"value": None}),
    Fault("wrong_types", 20, "json", wrong_types, {"variant": "content_number"}),
    Fault("empty_choices", 21, "json", empty_choices, {}),
    Fault("missing_choices", 21, "json", missing_choices, {}),
    Fault("null_content", 21, "json", null_content, {}),
    Fault("tool_calls_only", 21, "json", tool_calls_only, {}),
    Fault("refusal", 21, "json", refusal, {"text": "I cannot help with that."}),
    Fault("two_choices", 22, "json", two_choices, {}),
    Fault("wrong_index", 22, "json", wrong_index, {"by": 7}),
    Fault("other_model", 22, "json", other_model, {"model": "another-model"}),
    _reason("finish_length", "length", cut=True),
    _reason("finish_content_filter", "content_filter", cut=True),
    _reason("finish_unknown", "eos_probably", cut=False),
    _reason("finish_null", None, cut=False),
    _reason("finish_absent", "absent", cut=False),
    Fault("error_in_200", 24, "json", error_in_200, _ERROR, bills=False),
    *(
        _usage(variant)
        for variant in (
            "missing",
            "null",
            "zero",
            "negative",
            "float",
            "text",
            "over_max",
            "bad_total",
        )
    ),
    Fault("long_line", 28, "json", long_line, {"characters": 1_000_000}),
]
