"""Keep keys out of whatever is printed or stored.

A key is never meant to get there. It can all the same: a server repeats it, a user's filter fails
with it in its message, somebody writes it into an address. What is told is searched for it last.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

REMOVED = "[key removed]"
SHORTEST = 12
"""Shorter keys (EMPTY, ollama, none) are stand-ins, and words that a text may hold."""

_NAMED_LIKE_KEYS = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_USER_IN_ADDRESS = re.compile(r"(?<=//)[^\s'\"@/]+@|(?<=@)[^\s'\"@/]+@")
_read: set[str] = set()


def remember(key: str) -> None:
    """Keep out a key that was read from a variable of any name."""
    if len(key) >= SHORTEST:
        _read.add(key)


def remembered() -> list[str]:
    """The keys that `remember` was given, for a child process that is to keep them out too."""
    return sorted(_read)


@lru_cache(maxsize=64)
def spellings(key: str) -> tuple[str, ...]:
    r"""A key as it is, in JSON, in an address, in hex and in base64 wherever in a text it begins.

    >>> spellings("sk-a/b+c d 12")[:4]
    ('sk-a/b+c d 12', 'sk-a\\/b+c d 12', 'sk-a%2Fb%2Bc%20d%2012', '736b2d612f622b632064203132')
    """
    if len(key) < SHORTEST:
        return ()
    raw = key.encode(errors="surrogateescape")
    in_json = json.dumps(key)[1:-1]
    found = [key, in_json, in_json.replace("/", "\\/"), quote(raw, safe=""), raw.hex()]
    for before, first in ((0, 0), (1, 2), (2, 3)):
        coded = base64.b64encode(bytes(before) + raw).decode()[first : (before + len(raw)) * 8 // 6]
        found += [coded, coded.replace("+", "-").replace("/", "_")]
    return tuple(dict.fromkeys(found))


def text(said: str, environment: Mapping[str, str] | None = None) -> str:
    """What is to be told, without the keys of the environment and without users in addresses."""
    environment = os.environ if environment is None else environment
    named = {value for name, value in environment.items() if _NAMED_LIKE_KEYS.search(name)}
    for key in sorted(named | _read, key=len, reverse=True):
        for spelling in spellings(key):
            said = said.replace(spelling, REMOVED)
    return _USER_IN_ADDRESS.sub("[user removed]@", said)
