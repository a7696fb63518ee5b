import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import shingles
from filters.shingles import Runs, run_hashes, token_hashes, tokens

WORD = st.sampled_from(
    ["a", "B", "c's", "1,000", "好", "한", "カﾞ", "Мир", "🙂", "é", "e\u0301", "\0"]
)
TEXT = st.lists(WORD, max_size=15).map(" ".join) | st.text(max_size=20)


def hashes_by_text(runs):
    return [runs.hashes[a:b].tolist() for a, b in zip(runs.offsets, runs.offsets[1:], strict=False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n?! 🙂", []),
        ("Don't stop", ["don", "t", "stop"]),
        ("x_1 = 2.5", ["x", "1", "2", "5"]),
        ("用Python写", ["用", "python", "写"]),
        ("カタカナ 한국", ["カ", "タ", "カ", "ナ", "한", "국"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # marks are part of the word
        ("👍🏽 ❤️ ok", ["ok"]),
    ],
)
def test_words_and_single_signs_are_tokens(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CAFÉ", "cafe\u0301"),
        ("ＦＵＬＬ　width", "full WIDTH"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("ﬁne", "fine"),
        ("co\u00adop\u200berate", "cooperate"),
    ],
)
def test_unicode_forms_of_one_text_have_the_same_tokens(one, other):
    assert tokens(one) == tokens(other)


@settings(deadline=None)
@given(st.lists(TEXT, max_size=8))
def test_equal_tokens_have_equal_hashes_and_others_have_not(texts):
    runs = token_hashes(texts, small=True)
    known = {}
    for text, found in zip(texts, hashes_by_text(runs), strict=True):
        for token, hashed in zip(tokens(text), found, strict=True):
            assert known.setdefault(hashed, token) == token


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(TEXT, max_size=8), length=st.integers(1, 6), whole=st.booleans())
def test_both_engines_give_the_same_hashes(texts, length, whole):
    small, large = (token_hashes(texts, small=small) for small in (True, False))
    assert hashes_by_text(small) == hashes_by_text(large)
    small, large = (
        run_hashes(runs, length, whole=whole, small=is_small)
        for runs, is_small in ((small, True), (large, False))
    )
    assert hashes_by_text(small) == hashes_by_text(large)


def test_both_engines_read_every_character_alike():
    texts = [f"a{chr(code)}b {chr(code)}" for code in range(0x30000)]
    small, large = (token_hashes(texts, small=small) for small in (True, False))
    assert np.array_equal(small.offsets, large.offsets)
    assert np.array_equal(small.hashes, large.hashes)


@settings(deadline=None)
@given(
    texts=st.lists(st.text("abc", max_size=12).map(" ".join), max_size=6), length=st.integers(1, 5)
)
@pytest.mark.parametrize("small", [True, False])
def test_runs_are_equal_where_their_tokens_are(small, texts, length):
    split = [tokens(text) for text in texts]
    found = hashes_by_text(
        run_hashes(token_hashes(texts, small=small), length, whole=True, small=small)
    )
    known = {}
    for words, hashes in zip(split, found, strict=True):
        runs = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        if words and len(words) < length:
            runs = [tuple(words)]
        for run, hashed in zip(runs, hashes, strict=True):
            assert known.setdefault(hashed, run) == run
    assert len(set(known.values())) == len(known)


@pytest.mark.parametrize("small", [True, False])
def test_without_whole_a_text_of_too_few_tokens_has_no_run(small):
    runs = run_hashes(token_hashes(["a b", "a b c"], small=small), 3, whole=False, small=small)
    assert np.diff(runs.offsets).tolist() == [0, 1]


@pytest.mark.parametrize("small", [True, False])
def test_half_of_a_surrogate_pair_only_separates(small):
    runs = token_hashes(["a\ud800b", "a b"], small=small)
    assert hashes_by_text(runs)[0] == hashes_by_text(runs)[1]


@pytest.mark.parametrize("small", [True, False])
def test_batches_do_not_change_the_hashes(small, monkeypatch):
    texts = ["one two", "", "three", "四五", "five six seven"]
    expected = hashes_by_text(token_hashes(texts, small=small))
    monkeypatch.setattr(shingles, "BATCH", 2)
    assert hashes_by_text(token_hashes(texts, small=small)) == expected


def test_chosen_texts_keep_their_hashes():
    runs = Runs(np.arange(6, dtype=np.uint64), np.array([0, 2, 2, 5, 6]))
    assert hashes_by_text(shingles.chosen(runs, np.array([3, 1, 2]))) == [[5], [], [2, 3, 4]]


@given(st.text(max_size=30))
def test_tokens_do_not_depend_on_the_normal_form(text):
    assert tokens(unicodedata.normalize("NFD", text)) == tokens(unicodedata.normalize("NFC", text))
