"""Texts are split into sentences at once, however they are spaced."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from filters.sentences import sentences

PLAIN = r"""(?<=[。！？])["'”’」』）)]*|(?<=[.!?])["'”’)\]]*\s+|(?<=…)\s+|\s*[\r\n]+\s*"""
"""Spaces around line breaks are found here, and stripped there: to look for them costs squares."""


@given(st.text(' \t\r\n\x1c\u00a0.!?…。”)"aB我', max_size=20))
def test_sentences_are_those_between_the_plain_pattern(text: str) -> None:
    expected = [part.strip() for part in re.split(PLAIN, text) if part.strip()]
    assert sentences(text) == expected


def test_a_text_of_spaces_is_split_in_no_time() -> None:
    start = time.process_time()
    assert sentences("a." + " " * 300_000 + "b\n" + "\t" * 300_000 + "c") == ["a.", "b", "c"]
    assert time.process_time() - start < 5  # seconds; squares take minutes
