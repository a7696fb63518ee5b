"""Personal data and secrets: found by type on planted texts, and as a slow search finds them."""

import itertools
from collections import Counter
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.masks import FINDERS
from filters.personal_data import _is_valid, is_counted, personal_data
from filters.secrets import looks_drawn, secrets
from filters.spans import Finder, Span
from tests.filters.planted import LOOKALIKES, PLANTED, carried, labelled, with_luhn

JUDGES = {
    kind: judge
    for judge, kinds in (
        (personal_data, ("email", "phone", "iban", "card", "national_id", "ip_address")),
        (secrets, ("api_key", "jwt", "private_key", "secret")),
    )
    for kind in kinds
}


def one(text: str) -> pl.Series:
    return pl.Series([text], dtype=pl.String)


def test_recall_and_precision_by_type_on_planted_texts() -> None:
    rows = labelled(seed=11, each=200)
    planted = pl.Series([kind for kind, _, _ in rows])
    texts = pl.Series([text for _, text, _ in rows])
    empty = pl.Series([None] * len(rows), dtype=pl.String)
    assert planted.value_counts().filter(pl.col("count") >= 200).height == len(PLANTED) + 1
    for kind, judge in JUDGES.items():
        found = judge(empty, empty, texts, kinds=[kind])["reason"].is_not_null()
        is_planted = planted == kind
        hits = (found & is_planted).sum()
        assert hits / is_planted.sum() >= 0.95, kind
        assert hits / found.sum() >= 0.9, kind


def test_every_kind_of_planted_text_and_of_lookalike_is_drawn() -> None:
    texts = Counter(kind for kind, _, _ in labelled(seed=1, each=5))
    assert texts == {**dict.fromkeys(PLANTED, 5), "": len(LOOKALIKES)}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_a_verdict_is_that_of_a_search_of_every_text(seeds: list[int], data: st.DataObject) -> None:
    """The slow version asks no pattern first, and takes the rows one by one."""
    texts = []
    for seed in seeds:
        rows = labelled(seed, each=1)
        texts.append(data.draw(st.sampled_from([*(text for _, text, _ in rows), None, ""])))
    columns = {
        name: pl.Series(texts[at:] + texts[:at], dtype=pl.String)
        for at, name in enumerate(("instruction", "input", "output"))
    }
    for judge, kinds in (
        (personal_data, list(JUDGES)[:6]),
        (secrets, list(JUDGES)[6:]),
    ):
        found = judge(*columns.values())
        for at in range(len(texts)):
            said = [
                (kind, name, len(list(FINDERS[kind].search(text))))
                for kind in kinds
                for name, column in columns.items()
                if (text := column[at]) and list(FINDERS[kind].search(text))
            ]
            assert found["reason"][at] == (said[0][0] if said else None)
            for _, name, n in said:
                assert f"in {name} ({n})" in found["detail"][at]


@given(st.text(alphabet="0123456789+-. ()@:AaZz/订单号电话", max_size=60))
@settings(max_examples=400, deadline=None)
def test_where_nothing_may_be_nothing_is(text: str) -> None:
    for kind, finder in FINDERS.items():
        spans = list(finder.search(text))
        assert finder.find(text) == spans, kind
        assert all(0 <= a.start < a.end <= len(text) for a in spans)
        assert all(a.end <= b.start for a, b in itertools.pairwise(spans)), kind


def test_a_detail_names_the_type_and_the_place_and_never_the_data() -> None:
    text = "Write to kim@post.de or call 415-867-5309, or kim2@post.de."
    found = personal_data(one("Who?"), one(text), one("kim@post.de"))
    assert found.row(0) == (
        "email",
        "e-mail address in input (2), e-mail address in output (1), phone number in input (1)",
    )
    for _, said, what in labelled(seed=3, each=3):
        for judge in (personal_data, secrets):
            detail = judge(one(said), one(""), one(""))["detail"][0]
            assert detail is None or what not in detail


def test_only_the_kinds_that_are_asked_for_count() -> None:
    text = one("kim@post.de, 415-867-5309")
    found = personal_data(text, text, text, kinds=["phone"])
    assert found["reason"].to_list() == ["phone"]
    assert personal_data(text, text, text, kinds=["iban"])["reason"].to_list() == [None]
    with pytest.raises(ValueError, match="no kind 'phones'; there are email, phone"):
        personal_data(text, text, text, kinds=["phones"])


@given(st.integers(10**13, 10**14 - 1))
def test_a_card_counts_by_its_check_digit_alone(number: int) -> None:
    right = with_luhn(f"4{number}")
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    finder = FINDERS["card"]
    if len(set(right)) > 3:
        assert finder.find(f"Card {right}.") == [Span(5, 21)]
    assert finder.find(f"Card {wrong}.") == []


@pytest.mark.parametrize(
    ("address", "is_somebodys"),
    [
        ("192.0.1.255", True),
        ("192.0.2.0", False),
        ("192.0.2.255", False),
        ("192.0.3.0", True),
        ("126.255.255.254", True),
        ("127.0.0.1", False),
        ("172.15.255.255", True),
        ("172.16.0.0", False),
        ("172.31.255.255", False),
        ("172.32.0.0", True),
        ("20.20.20.20", False),
        ("20.20.20.21", True),
        ("256.20.20.21", False),
    ],
)
def test_addresses_that_nobody_has_are_no_data(address: str, is_somebodys: bool) -> None:
    assert bool(FINDERS["ip_address"].find(f"It is {address} today")) is is_somebodys


def test_a_small_address_needs_a_word_that_says_so() -> None:
    find = FINDERS["ip_address"].find
    assert not find("See 4.2.1.7 there.")
    assert find("The server 4.2.1.7 is there.")
    assert not find("version 81.169.145.70")


WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


@given(
    st.sampled_from(["iban", "card", "phone", "national_id", "ip_address"]), st.integers(0, 10**6)
)
@settings(max_examples=150, deadline=None)
def test_full_width_digits_are_found_as_plain_ones_are(kind: str, seed: int) -> None:
    rng = Random(seed)
    text = carried(rng, PLANTED[kind](rng))
    spans = FINDERS[kind].find(text)
    assert spans
    assert FINDERS[kind].find(text.translate(WIDE)) == spans


@given(st.integers(0, 10**6), st.sampled_from(["", " ", ".", "-"]))
def test_ibans_and_cards_are_found_however_they_are_grouped(seed: int, sign: str) -> None:
    rng = Random(seed)
    for kind, forms in (("iban", (str.upper, str.lower)), ("card", (str.upper,))):
        plain = PLANTED[kind](rng).replace(" ", "").replace("-", "")
        cuts = [4, 10] if len(plain) == 15 and kind == "card" else range(4, len(plain), 4)
        parts = [plain[a:b] for a, b in itertools.pairwise([0, *cuts, len(plain)])]
        for form in forms:
            said = form(sign.join(parts))
            assert FINDERS[kind].find(f"It is {said}.") == [Span(6, 6 + len(said))], said


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("81.169.145.0/7", 0),
        ("81.169.145.0/8", 1),
        ("81.169.145.0/24,", 1),
        ("81.169.145.0/24/3", 0),
        ("81.169.145.0/a", 0),
        ("2a01:4f8:c17:b8f::/64", 1),
        ("2a01:4f8:c17:b8f::/x", 0),
        ("Jürgen.Groß@post.de", 1),
        ("иван@mail.ru", 1),
        ("邮箱：张伟@post.cn", 1),
        ("联系kim@post.de", 1),
    ],
)
def test_networks_and_addresses_in_other_letters_are_found_whole(text: str, n: int) -> None:
    kind = "email" if "@" in text else "ip_address"
    found = FINDERS[kind].find(f"See {text} there")
    assert len(found) == n
    if n and kind == "email" and "联系" not in text:
        assert text[found[0].start - 4 : found[0].end - 4] == text.removeprefix("邮箱：")


@pytest.mark.parametrize("line", ["0099", "0100", "0199", "0200", "1212"])
def test_555_numbers_are_nobodys_unless_they_are_free_of_charge(line: str) -> None:
    find = FINDERS["phone"].find
    assert not find(f"Call (212) 555-{line}.")
    assert find(f"Call (212) 556-{line}.")
    assert find(f"Call 800-555-{line}.")


def test_a_resident_id_needs_its_check_digit_its_date_and_a_province() -> None:
    assert _is_valid("stdnum.cn.ric", "11010519491231002X")
    assert _is_valid("stdnum.cn.ric", "11010519491231002x")
    assert not _is_valid("stdnum.cn.ric", "110105194912310021")
    assert not _is_valid("stdnum.cn.ric", "110105194913310020")
    assert not _is_valid("stdnum.cn.ric", "010105194912310029")


def test_numbers_after_words_that_count_are_none() -> None:
    assert is_counted("Order number: ")
    assert is_counted("快递单号")
    assert not is_counted("border ")
    assert not is_counted("my number is ")


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("k3Xv9QmT2bL", False),  # 11 characters
        ("k3Xv9QmT2bLw", True),
        ("kkkkkkkk3333", False),  # one bit a character
        ("k3Xv9Qmtbelw", True),
        ("kXvbQmTbbLw9", False),  # one digit
        ("0f9c27e1b6d84a5380f9c27e1b6d84", False),  # 30 signs of hex
        ("0f9c27e1b6d84a5380f9c27e1b6d84a5", True),
        ("get_token(3)4ab2", False),
        ("your_key_12_34ab", False),
    ],
)
def test_a_secret_is_long_and_looks_drawn(value: str, is_one: bool) -> None:
    assert looks_drawn(value) is is_one
    assert bool(FINDERS["secret"].find(f"password = '{value}'")) is is_one


def test_a_private_key_that_is_cut_off_counts_to_its_end() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(["aB3d" * 16] * 3)
    finder = FINDERS["private_key"]
    assert finder.find(f"It is\n{key}") == [Span(6, 6 + len(key))]
    assert finder.find("It begins with -----BEGIN RSA PRIVATE KEY----- and goes on.") == []


def test_a_finder_searches_nothing_that_cannot_hold_it() -> None:
    def fails(text: str) -> list[Span]:
        raise AssertionError(text)

    assert Finder("@", fails).find("nothing here") == []


def test_planted_texts_are_found_in_both_languages() -> None:
    rng = Random(5)
    for kind, make in PLANTED.items():
        for _ in range(40):
            text = carried(rng, make(rng))
            assert FINDERS[kind].find(text), text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+44\u00a020\u00a07123\u00a04567 rings", "+44\u00a020\u00a07123\u00a04567"),
        ("Ask (415)-867-5309 today", "(415)-867-5309"),
    ],
)
def test_a_phone_number_is_found_however_its_parts_are_joined(text: str, number: str) -> None:
    (span,) = FINDERS["phone"].find(text)
    assert text[span.start : span.end] == number
