"""Masks: what stands in a text where personal data or a secret stood.

`[phone:xxxxxxxxx]` says what it was and keeps its length class: as many words, and as many
characters as the least of 16, 32, 64, ... that the masked piece fits into. What is a mask is never
masked again, so that masking a text twice is masking it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from filters import personal_data, secrets
from filters.spans import Finder
from filters.told import Found, Told

KINDS = (*personal_data.KINDS, *secrets.KINDS)
GROUPS = {"all": KINDS, "personal_data": personal_data.KINDS, "secrets": secrets.KINDS}
"""Names for several kinds at once."""
FINDERS: Mapping[str, Finder] = {**secrets.FINDERS, **personal_data.FINDERS}
LABELS = {
    "email": "e-mail",
    "phone": "phone",
    "iban": "iban",
    "card": "card",
    "national_id": "id-no",
    "ip_address": "ip",
    "api_key": "api-key",
    "jwt": "jwt",
    "private_key": "private-key",
    "secret": "secret",
}
"""What a mask says of what it hides."""
KIND_OF = {label: kind for kind, label in LABELS.items()}
VERSION = 3
"""Raised where other pieces of a text are masked, or masked otherwise."""
SHORTEST = 16
MASK = re.compile(rf"\[({'|'.join(LABELS.values())})(?::x+|(?: x+)+)\]")
ROUNDS = 20
"""What is left beside a mask is looked at again; texts made to go on for ever end here."""


def masked(text: str, kinds: Sequence[str], told: Told | None = None) -> str:
    """The text with a mask for every piece of one of `kinds`; the same again is the same.

    >>> masked("Write to kim@post.de.", ["email"])
    'Write to [e-mail:xxxxxxx].'
    """
    return masked_texts([text], kinds, told)[0]


def masked_texts(texts: Sequence[str], kinds: Sequence[str], told: Told | None = None) -> list[str]:
    """The same for texts of one row: a piece that one of them tells is masked wherever it stands.

    So is what texts elsewhere have `told`.

    >>> masked_texts(["My password is k3Xv9QmT2bLw7Zpr.", "k3Xv9QmT2bLw7Zpr is long."], ["secret"])
    ['My password is [secret:xxxxxxx].', '[secret:xxxxxxx] is long.']
    """
    return _masked_and_told(texts, kinds, told)[0]


def told_by(texts: Sequence[str], kinds: Sequence[str]) -> dict[str, str]:
    """The pieces of one of `kinds` that the texts of a row tell, each with its kind.

    >>> told_by(["My password is k3Xv9QmT2bLw7Zpr."], ["secret"])
    {'k3Xv9QmT2bLw7Zpr': 'secret'}
    """
    return _masked_and_told(texts, kinds, None)[1]


def _masked_and_told(
    texts: Sequence[str], kinds: Sequence[str], elsewhere: Told | None
) -> tuple[list[str], dict[str, str]]:
    finders = [(kind, FINDERS[kind]) for kind in FINDERS if kind in kinds]
    near = Told(any_text=True)
    told = [near] if elsewhere is None else [near, elsewhere]
    last = list(texts)
    for _ in range(ROUNDS):
        found = [_found(text, finders) for text in last]
        for text, spans in zip(last, found, strict=True):
            for start, end, kind in _apart(spans):
                near.add(kind, text[start:end])
        new = [_masked_at(text, spans, told) for text, spans in zip(last, found, strict=True)]
        if new == last:
            break
        last = new
    return last, near.pieces


def _found(text: str, finders: Iterable[tuple[str, Finder]]) -> list[Found]:
    """What the finders find between the masks."""
    return [
        (at + span.start, at + span.end, kind)
        for at, part in _unmasked(text)
        for kind, finder in finders
        for span in finder.find(part)
    ]


def _apart(found: Iterable[Found]) -> Iterator[Found]:
    """Of those that overlap the first, of these the longest."""
    last = 0
    for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1], one[2])):
        if start >= last:
            yield start, end, kind
            last = end


def _masked_at(text: str, found: Sequence[Found], told: Iterable[Told]) -> str:
    """A mask for every piece that is found or was told."""
    spans = list(found)
    for values in told:
        spans += [
            (at + start, at + end, kind)
            for at, part in (_unmasked(text) if values else ())
            for start, end, kind in values.find(part)
        ]
    parts, last = [], 0
    for start, end, kind in _apart(spans):
        parts += [text[last:start], mask(kind, text[start:end])]
        last = end
    return "".join([*parts, text[last:]])


def _unmasked(text: str) -> Iterator[tuple[int, str]]:
    """The text between its masks, each piece with its place."""
    last = 0
    for met in MASK.finditer(text):
        yield last, text[last : met.start()]
        last = met.end()
    yield last, text[last:]


def mask(kind: str, piece: str) -> str:
    """The mask of a piece of text, of its length class.

    >>> mask("phone", "+1 415 867 5309"), mask("secret", "k3Xv9QmT2bLw7Zpr")
    ('[phone x x xxxx]', '[secret:xxxxxxx]')
    """
    words, length = length_class(piece)
    room = length - len(LABELS[kind]) - len("[]")
    others = min(words - 1, room // 2)
    if others == 0:
        return f"[{LABELS[kind]}:{'x' * (room - 1)}]"
    fill = " x" * (others - 1)
    return f"[{LABELS[kind]}{fill} {'x' * (room - len(fill) - 1)}]"


def length_class(text: str) -> tuple[int, int]:
    """The words of a text, and the least of 16, 32, 64, ... characters that it fits into.

    >>> length_class("one two"), length_class("x" * 17)
    ((2, 16), (1, 32))
    """
    length = SHORTEST
    while length < len(text):
        length *= 2
    return max(len(text.split()), 1), length


def masks_in(texts: Iterable[str]) -> list[str]:
    """The kinds of the masks that stand in texts, each once, in the order of `KINDS`."""
    found = {KIND_OF[label] for text in texts if "[" in text for label in MASK.findall(text)}
    return [kind for kind in KINDS if kind in found]


def may_be_masked(texts: pl.Series, kinds: Sequence[str]) -> pl.Series:
    """Which texts of a column may tell something to be masked, or have a mask; null has not."""
    patterns = [FINDERS[kind].may for kind in FINDERS if kind in kinds]
    hits = [pl.col(texts.name).str.contains(one) for one in (*patterns, MASK.pattern)]
    return texts.to_frame().select(pl.any_horizontal(hits).fill_null(value=False)).to_series()


def packages(kinds: Sequence[str]) -> tuple[str, ...]:
    """What these kinds need that does not come with every synth."""
    return tuple(dict.fromkeys(one for kind in kinds for one in FINDERS[kind].packages))
