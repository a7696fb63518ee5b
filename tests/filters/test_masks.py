"""Masks say what they hide, keep its length class, and are never masked again."""

import re
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.masks import (
    FINDERS,
    GROUPS,
    KINDS,
    LABELS,
    MASK,
    length_class,
    mask,
    masked,
    masked_texts,
    masks_in,
    may_be_masked,
    packages,
)
from tests.filters.planted import LOOKALIKES, PLANTED, carried, labelled


@pytest.mark.parametrize(("kind", "text", "what"), [r for r in labelled(2, each=8) if r[0]])
def test_what_is_planted_is_gone_and_what_stands_there_says_what_it_was(
    kind: str, text: str, what: str
) -> None:
    found = masked(text, [kind])
    assert what not in found
    assert masks_in([found]) == [kind]
    spans = FINDERS[kind].find(text)
    masks = MASK.finditer(found)
    for span, met in zip(spans, masks, strict=True):
        assert length_class(met[0]) == length_class(text[span.start : span.end])
    assert re.split(MASK.pattern, found)[0] == text[: spans[0].start]


@given(
    st.sampled_from(KINDS),
    st.lists(st.text("abc1", min_size=2, max_size=12), min_size=1, max_size=5),
)
def test_a_mask_keeps_words_and_length_class(kind: str, words: list[str]) -> None:
    piece = " ".join(words)
    made = mask(kind, piece)
    assert MASK.fullmatch(made), made
    n, length = length_class(piece)
    assert n == len(words)
    assert length // 2 < max(len(piece), 9) <= length
    if length >= 2 * n + len(LABELS[kind]):
        assert length_class(made) == (n, length)
    assert len(made) <= length


@pytest.mark.parametrize(
    ("length", "least"), [(1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (64, 64), (65, 128)]
)
def test_length_classes_end_where_they_end(length: int, least: int) -> None:
    assert length_class("x" * length) == (1, least)
    assert len(mask("email", "x" * length)) == least


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_masking_twice_is_masking_once(seed: int, n: int) -> None:
    rng = Random(seed)
    makers = [*PLANTED.values(), *LOOKALIKES.values()]
    text = rng.choice(["", " ", "\n", "，"]).join(
        carried(
            rng, rng.choice(["", "-", "@", " "]).join(rng.choice(makers)(rng) for _ in range(2))
        )
        for _ in range(n)
    )
    once = masked(text, KINDS)
    assert masked(once, KINDS) == once
    assert not [kind for kind in KINDS if any(_unmasked_pieces(once, kind))]


def _unmasked_pieces(text: str, kind: str) -> list[object]:
    return [span for part in re.split(r"\[[^\[\]]*\]", text) for span in FINDERS[kind].find(part)]


@given(st.text(alphabet="a1@.-+ 4:[]x/=password", max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_is_masked_for_good(text: str) -> None:
    once = masked(text, KINDS)
    assert masked(once, KINDS) == once


def test_a_text_without_anything_stays_as_it_is() -> None:
    for text in ("", "Nothing here.", "[e-mail] and [phone: number]"):
        assert masked(text, KINDS) == text
        assert masks_in([text]) == []


def test_texts_that_may_be_masked_are_those_that_are_and_those_with_a_mask() -> None:
    texts = [text for _, text, _ in labelled(4, each=3)]
    texts += ["pass\x1cword", "password\x1c= k3Xv9QmT2bLw7Zpr", "pwd\x1f: k3Xv9QmT2bLw7Zpr"]
    column = pl.Series("output", [*texts, None, "", "[iban:xxxxxxxxxx]"], dtype=pl.String)
    may = may_be_masked(column, KINDS).to_list()
    changed = [masked(text, KINDS) != text for text in texts]
    assert changed[-3:] == [False, True, True]
    assert all(a >= b for a, b in zip(may, changed, strict=False))
    assert may[-3:] == [False, False, True]
    assert not any(may_be_masked(column, []).to_list()[:-1])


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_what_one_text_of_a_row_tells_is_masked_in_all(seed: int, n: int) -> None:
    rng = Random(seed)
    kinds = [rng.choice(KINDS) for _ in range(n)]
    told = [carried(rng, PLANTED[kind](rng)) for kind in kinds]
    pieces = [
        text[span.start : span.end]
        for kind, text in zip(kinds, told, strict=True)
        for span in FINDERS[kind].find(text)
    ]
    again = [f"({piece}), not x{piece} and, once more, {piece}" for piece in pieces]
    texts = [*again, *told, "nothing"]
    found = masked_texts(texts, KINDS)
    assert not [
        (piece, text)
        for piece in pieces
        for text in found
        if piece in text.replace(f"x{piece}", "")
    ]
    assert found[-1] == "nothing"
    assert masked_texts(found, KINDS) == found
    assert masked_texts(told, KINDS) == [masked_texts([one, *told], KINDS)[0] for one in told]


def test_groups_and_packages_cover_the_kinds() -> None:
    assert GROUPS["all"] == KINDS == (*GROUPS["personal_data"], *GROUPS["secrets"])
    assert set(LABELS) == set(FINDERS) == set(KINDS)
    assert packages(["email", "jwt"]) == ()
    assert packages(KINDS) == ("phonenumbers", "stdnum")


@given(st.sampled_from(KINDS), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_a_text_is_masked_as_piece_after_piece_would_be(kind: str, seed: int) -> None:
    """The slow version masks the first piece that is left, and searches all again."""
    rng = Random(seed)
    text = "\n".join(carried(rng, PLANTED[kind](rng)) for _ in range(3))
    slow = text
    while True:
        parts = re.split(f"({MASK.pattern})", slow)
        left = [part for part in parts if part and FINDERS[kind].find(part)]
        if not left or MASK.fullmatch(left[0]):
            break
        span = FINDERS[kind].find(left[0])[0]
        piece = left[0][span.start : span.end]
        slow = slow.replace(piece, mask(kind, piece), 1)
    assert masked(text, [kind]) == slow
