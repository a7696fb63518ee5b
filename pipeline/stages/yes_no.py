"""A yes or no, or another single word, from a teacher's reply.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `identify_clf_or_not.py` and
`generate_instances.py`. One real reply, to "is this a classification task?": ` Yes`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.stage import Reply
from pipeline.stages.numbered_list import clean_reply

YES_OR_NO = ("yes", "no")
FIRST_WORD = re.compile(r"\W*\w+(?=\W)")


def is_yes(text: str) -> bool:
    """Say whether a reply is exactly Yes, yes or YES, whitespace around it left out.

    Everything else is a no, as published: "Yes." and "Yes, it is" too, and a reply that never came.

    >>> is_yes(" Yes"), is_yes("Yes.")
    (True, False)
    """
    return text.strip() in {"Yes", "yes", "YES"}


def is_word_cut_off(reply: Reply, words: Sequence[str]) -> bool:
    """Say whether a reply was cut off before its first word was whole.

    A word is whole where something follows it, or where it is one of `words`, in any case: a
    decoding of three tokens, as published, cuts most replies after that.

    >>> [is_word_cut_off(Reply(text, "length"), YES_OR_NO) for text in ("Ye", "No", "It i")]
    [True, False, False]
    >>> is_word_cut_off(Reply("Ye"), YES_OR_NO)
    False
    """
    if not reply.is_cut_off:
        return False
    text = clean_reply(reply.text)
    return FIRST_WORD.match(text) is None and text.strip().lower() not in words
