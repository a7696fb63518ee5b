"""Keys of calls, and what is read from an envelope."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teacher.call import Answer, BadReply, Call, canonical, read_envelope

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.7}


def call(body: dict[str, Any] = BODY, kind: str = "chat", **more: Any) -> Call:
    return Call("a", 0, kind, body, canonical(kind, body), "t", {}, **more)


def test_equal_content_has_an_equal_key_whatever_its_slot_stage_and_order() -> None:
    turned = dict(reversed(BODY.items()))
    assert call().key() == call(turned).key()
    assert call().key() == dataclasses.replace(call(), slot=9, stage="b", shown=("x",)).key()
    assert len(call().key()) == 16


def test_whatever_is_asked_otherwise_has_another_key() -> None:
    others = [
        call(BODY | {"temperature": 0.8}),
        call(BODY | {"model": "n"}),
        call(BODY | {"messages": [{"role": "user", "content": "hi"}]}),
        call(BODY | {"messages": [{"role": "system", "content": "Hi"}]}),
        call({"model": "m", "messages": BODY["messages"]}),
        call(kind="completions"),
        call(sample=1),
        call(attempt=1),
        call(sample=1, attempt=1),
    ]
    keys = {other.key() for other in others} | {call().key()}
    assert len(keys) == len(others) + 1


def test_the_key_of_a_call_never_changes() -> None:
    """Journals that are on disk are looked up by it."""
    written = (
        b'["chat",{"messages":[{"content":"Hi","role":"user"}],"model":"m","temperature":0.7}]:0:0'
    )
    assert call().key() == hashlib.blake2b(written, digest_size=16).digest()
    assert call().key().hex() == "bff8a8fa558a3fc7b8be76dc37c51596"


def envelope(**changed: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Hello"}}
    whole = {
        "model": "m",
        "choices": [choice],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    return json.dumps(whole | changed).encode()


def choices(**changed: Any) -> list[dict[str, Any]]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Hello"}}
    return [choice | changed]


def test_an_answer_is_its_text_its_end_and_its_tokens() -> None:
    found = read_envelope("chat", envelope())
    assert isinstance(found, Answer)
    assert (found.reply.text, found.reply.finish_reason) == ("Hello", "stop")
    assert (found.model, found.input_tokens, found.output_tokens) == ("m", 3, 2)
    text = envelope(choices=[{"text": "Hi", "finish_reason": "length"}])
    found = read_envelope("completions", text)
    assert isinstance(found, Answer)
    assert (found.reply.text, found.reply.is_cut_off) == ("Hi", True)


@pytest.mark.parametrize("finish", ["length", "eos", None, 5, "STOP", "tool_calls"])
def test_only_a_plain_stop_is_a_whole_text(finish: object) -> None:
    found = read_envelope("chat", envelope(choices=choices(finish_reason=finish)))
    assert isinstance(found, Answer)
    assert found.reply.is_cut_off


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], 5, "x", {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 1.5},
     {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": "3"},
     {"prompt_tokens": 3, "completion_tokens": None}],
)  # fmt: skip
def test_tokens_that_are_not_stated_soundly_are_unknown_and_never_nought(usage: object) -> None:
    found = read_envelope("chat", envelope(usage=usage))
    assert isinstance(found, Answer)
    assert (found.input_tokens, found.output_tokens) == (None, None)


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (b"", "bad_envelope"),
        (b"<html>", "bad_envelope"),
        (b"\xff\xfe\xfd", "bad_envelope"),
        (b"[" * 100_000, "bad_envelope"),
        (b"null", "bad_envelope"),
        (b"[]", "bad_envelope"),
        (b"5", "bad_envelope"),
        (b"{}", "no_choices"),
        (envelope(choices=[]), "no_choices"),
        (envelope(choices={}), "no_choices"),
        (envelope(choices=[None]), "no_choices"),
        (envelope(choices="none"), "no_choices"),
        (b'{"error": {"message": "busy"}}', "error_in_reply"),
        (b'{"error": "half \\ud800", "choices": []}', "error_in_reply"),
        (envelope(choices=choices(message=None)), "bad_envelope"),
        (envelope(choices=choices(message="hi")), "bad_envelope"),
        (envelope(choices=choices(message={"content": None})), "no_text"),
        (envelope(choices=choices(message={"content": 42})), "no_text"),
        (envelope(choices=choices(message={"content": ["a"]})), "no_text"),
        (envelope(choices=choices(message={})), "no_text"),
        (envelope(choices=choices(message={"content": None, "tool_calls": [1]})), "tool_calls"),
        (envelope(choices=choices(message={"content": "x", "refusal": "No."})), "refusal"),
        (envelope(choices=choices(finish_reason="content_filter")), "content_filter"),
        (envelope(choices=choices(message={"content": "a\ud800"})), "bad_text"),
    ],
)
def test_every_bad_envelope_has_a_name(raw: bytes, outcome: str) -> None:
    found = read_envelope("chat", raw)
    assert isinstance(found, BadReply)
    assert found.outcome == outcome
    found.detail.encode()
    assert len(found.detail) <= 300


def embedding(*vectors: object, usage: object = None) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": vector} for vector in vectors]
    return json.dumps({"data": data, "model": "m", "usage": usage}).encode()


def test_an_embedding_is_its_numbers_and_only_its_input_is_billed() -> None:
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    found = read_envelope("embeddings", embedding([0.5, -1, 3.4e38], usage=usage))
    assert isinstance(found, Answer)
    assert (found.reply.vector, found.reply.text) == ((0.5, -1.0, 3.4e38), "")
    assert (found.model, found.input_tokens, found.output_tokens) == ("m", 5, 0)
    assert read_envelope("embeddings", embedding([0.5])).input_tokens is None


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (b"<html>", "bad_envelope"),
        (b"[]", "bad_envelope"),
        (b'{"error": {"message": "busy"}}', "error_in_reply"),
        (b"{}", "no_vector"),
        (b'{"choices": [{"message": {"content": "Hi"}}]}', "no_vector"),
        (b'{"data": []}', "no_vector"),
        (b'{"data": [[0.5]]}', "no_vector"),
        (embedding(None), "no_vector"),
        (embedding([]), "no_vector"),
        (embedding("AACAPw=="), "no_vector"),
        (embedding([0.5], [0.5]), "bad_vector"),
        (embedding([0.5, float("nan")]), "bad_vector"),
        (embedding([0.5, float("inf")]), "bad_vector"),
        (embedding([0.5, 3.5e38]), "bad_vector"),
        (embedding([0.5, 10**400]), "bad_vector"),
        (embedding([0.5, None]), "bad_vector"),
        (embedding([0.5, True]), "bad_vector"),
        (embedding([0.5, "0.5"]), "bad_vector"),
        (embedding([[0.5]]), "bad_vector"),
    ],
)
def test_every_bad_embedding_has_a_name(raw: bytes, outcome: str) -> None:
    found = read_envelope("embeddings", raw)
    assert isinstance(found, BadReply)
    assert found.outcome == outcome


MEMBERS = ["choices", "message", "content", "text", "error", "usage", "refusal", "model"]
MEMBERS += ["finish_reason", "prompt_tokens", "tool_calls", "data", "embedding", "tokens", "loss"]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(["chat", "completions", "embeddings", "score"]), ANY)
def test_any_json_is_an_answer_or_has_a_name(kind: str, tree: object) -> None:
    found = read_envelope(kind, json.dumps(tree).encode())
    if isinstance(found, Answer):
        found.reply.text.encode()  # raises where it holds half a surrogate pair
        found.model.encode()
    else:
        assert found.outcome
        found.detail.encode()


@given(st.sampled_from(["chat", "completions", "embeddings", "score"]), st.binary())
def test_any_bytes_are_an_answer_or_have_a_name(kind: str, raw: bytes) -> None:
    assert isinstance(read_envelope(kind, raw), Answer | BadReply)


@pytest.mark.parametrize(
    "changed",
    [{"tokens": True}, {"cut": -1}, {"loss": None}, {"loss": -1}, {"loss_alone": float("nan")}],
    ids=str,
)
def test_a_measurement_that_is_none_has_a_name(changed: dict[str, object]) -> None:
    sound = {"tokens": 2, "cut": 0, "loss": 1.5, "loss_alone": 2.0}
    found = read_envelope("score", json.dumps(sound).encode())
    assert isinstance(found, Answer)
    assert found.reply.measured is not None
    assert (found.reply.measured.loss, found.reply.measured.alone) == (1.5, 2.0)
    bad = read_envelope("score", json.dumps(sound | changed).encode())
    assert isinstance(bad, BadReply)
    assert bad.outcome == "bad_score"
