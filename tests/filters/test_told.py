"""Values that were told are found elsewhere, as a slow search of every one finds them."""

import re
from itertools import pairwise
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.masks import KINDS, masked, masked_texts, told_by
from filters.told import BETWEEN, NUMBERS, Told, is_telling
from tests.filters.planted import PLANTED, carried

GAPS = ["", "", " ", "-", ".", "  ", ") ", "/", "\u00a0", "，", "x", "\n", "、", "/-. "]


def regrouped(rng: Random, said: str) -> str:
    """Some of a value's letters and digits, gaps anywhere among them, and signs around."""
    if rng.random() < 0.4:
        return said
    signs = re.sub("[^A-Za-z0-9]", "", said)
    cuts = sorted(rng.choices(range(1, len(signs)), k=rng.choice([0, 1, 2, 3, 4, 60])))
    parts = [signs[a:b] for a, b in pairwise([0, *cuts, len(signs) - (rng.random() < 0.1)])]
    return rng.choice(["+", "", "("]) + rng.choice(GAPS).join(parts)


def slowly(told: dict[str, str], text: str) -> set[tuple[int, int, str]]:
    """Each value at each place of the text, the longest number that begins there."""
    found = set()
    between = f"(?:{BETWEEN})?"
    numbers: dict[int, tuple[int, int, str]] = {}
    for piece, kind in told.items():
        flags = re.IGNORECASE if kind == "email" else 0
        for met in re.finditer(
            rf"(?<![A-Za-z0-9])(?={re.escape(piece)}(?![A-Za-z0-9]))", text, flags
        ):
            found.add((met.start(), met.start() + len(piece), kind))
        if kind in NUMBERS:
            signs = re.sub("[^A-Za-z0-9]", "", piece)
            pattern = re.compile(f"(?i:{between.join(signs)})(?![A-Za-z0-9])")
            for at in range(len(text)):
                met = pattern.match(text, at)
                is_first = not re.match("[A-Za-z0-9]", text[:at][-1:])
                if met and is_first:
                    begin = at - (text[:at][-1:] == "+")
                    if begin not in numbers or numbers[begin][1] < met.end():
                        numbers[begin] = (begin, met.end(), kind)
    return found | set(numbers.values())


@given(st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_values_are_found_where_a_slow_search_finds_them(seed: int) -> None:
    rng = Random(seed)
    kinds = [rng.choice([*NUMBERS, "email", "ip_address", "secret", "api_key"]) for _ in range(4)]
    pieces: dict[str, str] = {}
    for kind in kinds:
        for piece, own in told_by([carried(rng, PLANTED[kind](rng))], [kind]).items():
            if own != "phone" or not piece.startswith("+"):  # those have a second form, below
                pieces.setdefault(piece, own)
    told = Told()
    for piece, kind in pieces.items():
        told.add(kind, piece)
    held = dict(told.pieces)
    assert all(is_telling(kind, piece) == (piece in held) for piece, kind in pieces.items())
    said = [regrouped(rng, piece) for piece in pieces]
    text = "".join(
        rng.choice(["", " ", "(", "x", "7", "no. ", "+", "电话"]) + one for one in [*said, "end"]
    )
    found = set(told.find(text))
    assert found == slowly(held, text)
    assert told.may_hold(pl.Series([text]))[0] >= bool(found)


def test_a_column_may_hold_what_its_texts_hold() -> None:
    rng = Random(3)
    told, texts = Told(), [None, "", "nothing", "12 34 56 78 90"]
    for kind, make in PLANTED.items():
        for _ in range(20):
            for piece in told_by([carried(rng, make(rng))], [kind]):
                told.add(kind, piece)
                wide = piece.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
                texts += [f"It is {piece}.", f"它是{wide}。", f"x{piece[1:]}"]
    column = pl.Series(texts, dtype=pl.String)
    before = column.clone()
    may = told.may_hold(column)
    assert column.equals(before, null_equal=True)
    assert may.to_list()[:4] == [False] * 4
    assert all(a >= bool(b and told.find(b)) for a, b in zip(may, texts, strict=True))
    assert sum(bool(text and told.find(text)) for text in texts) > len(texts) // 2
    assert not Told().may_hold(column).any()
    assert len(told.may_hold(column.head(0))) == 0


@pytest.mark.parametrize(
    ("kind", "piece", "tells"),
    [
        ("phone", "41586753", False),  # 8 digits
        ("phone", "415-867-530", True),
        ("phone", "412345 098", True),
        ("phone", "4123456 08", False),  # counted up, six of them
        ("phone", "987654 021", False),
        ("phone", "411111 098", True),
        ("phone", "4111111 09", False),
        ("phone", "414 414 414", False),  # two digits alone
        ("phone", "414 214 414", False),  # three
        ("phone", "414 234 414", True),
        ("national_id", "JK841209", False),
        ("national_id", "JK841209B", True),
        ("ip_address", "4.20.1.7", False),
        ("ip_address", "4.21.1.7", True),
        ("ip_address", "2a01::1", True),
        ("secret", "abcd1x2", False),
        ("secret", "Ubuntu22.04", False),
        ("secret", "aB3xK9q2024", False),
        ("secret", "aB3xK9q202x", True),
        ("secret", "Ubuntu22.04x", True),  # 12 characters: the finder has found it drawn
        ("email", "a@b.de", True),
    ],
)
def test_what_may_stand_elsewhere_by_chance_tells_nothing(
    kind: str, piece: str, tells: bool
) -> None:
    assert is_telling(kind, piece) is tells
    told, row = Told(), Told(any_text=True)
    told.add(kind, piece)
    row.add(kind, piece)
    assert bool(told.find(f"So {piece} it is")) is tells
    assert row.find(f"So {piece} it is")


def test_a_phone_is_found_without_its_country_and_a_key_by_each_of_its_lines() -> None:
    told = Told()
    told.add("phone", "+49 171 2345098")
    for said in ("0171 2345098", "171/2345098", "+49 (171) 234-5098", "００４９" + "1712345098"):
        assert told.find(f"order {said} there")[0] == (6, 6 + len(said), "phone")
    told.add("phone", "+999 1")
    lines = ["aB3d" * 16, "x9Yz" * 16]
    told.add("private_key", "\n".join(["-----BEGIN PRIVATE KEY-----", *lines]))
    assert told.find(f"a line: {lines[1]}") == [(8, 72, "private_key")]
    assert not told.find(f"a line: {lines[1]}x")


@pytest.mark.parametrize(
    ("kind", "piece", "said"),
    [
        ("phone", "+49 171 2345098", "4 9 1 7 1 2 3 4 5 0 9 8"),
        ("card", "5425 2334 3010 9903", "5.4.2.5.2.3.3.4.3.0.1.0.9.9.0.3"),
        ("card", "5425 2334 3010 9903", "５ ４ ２ ５ ２ ３ ３ ４ ３ ０ １ ０ ９ ９ ０ ３"),
        ("national_id", "JG103759A", "JG 10 37 59 A"),
        ("national_id", "RSSMRA85T10A562S", "rss mra 85t10 a562s"),
        ("iban", "DE75512108001245126199", "D E 75-5121-0800-1245-1261-99"),
    ],
)
def test_a_number_is_found_digit_by_digit_and_with_its_letters_apart(
    kind: str, piece: str, said: str
) -> None:
    told = Told()
    told.add(kind, piece)
    text = f"no. {said}, then"
    assert (4, 4 + len(said), kind) in told.find(text)
    assert told.may_hold(pl.Series([text, f"no. {said[:-1]}"])).to_list()[0]
    assert not told.find(f"no. {said[:-1]}, then")
    assert not told.find("A NO of D E and rss, JG 10 37")


def test_no_more_values_are_held_than_are_to_be() -> None:
    told = Told(most=2)
    for name in ("a@b.de", "c@d.de", "a@b.de"):
        told.add("email", name)
    assert not told.is_full
    told.add("email", "e@f.de")
    assert told.is_full
    assert told.pieces == {"a@b.de": "email", "c@d.de": "email"}
    told.add("phone", "c@d.de")
    assert told.pieces["c@d.de"] == "email"


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_what_texts_elsewhere_tell_is_masked_and_masked_for_good(seed: int) -> None:
    rng = Random(seed)
    told, pieces = Told(), []
    for kind in rng.sample(KINDS, 3):
        for piece, own in told_by([carried(rng, PLANTED[kind](rng))], KINDS).items():
            told.add(own, piece)
            pieces += [piece] if piece in told.pieces else []
    text = " and ".join(f"no. {piece}, x{piece}" for piece in pieces)
    once = masked(text, KINDS, told)
    assert not [piece for piece in pieces if f" {piece}" in once]
    assert masked(once, KINDS, told) == once
    assert masked_texts(["nothing", text], KINDS, told) == ["nothing", once]
