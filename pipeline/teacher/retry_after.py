"""How long a server asks us to wait: its Retry-After, sound or not."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping

MAX_WAIT_S = 600.0
"""The longest pause that a server's Retry-After is believed."""


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """The pause that the server asks for, in seconds: a number, or a date against its own clock.

    OpenAI also says it in milliseconds, which counts where it is there; nonsense is no pause.
    """
    given = headers.get("retry-after", "")
    waits = (
        _number(headers.get("retry-after-ms", "")) / 1000,
        _number(given),
        _until(given, headers.get("date", "")),
    )
    wait = next((wait for wait in waits if not math.isnan(wait)), 0.0)
    return min(wait, MAX_WAIT_S) if wait > 0 else None


def _number(text: str) -> float:
    """A number; nan where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _until(date: str, now: str) -> float:
    """Seconds from one HTTP date to another; nan where one is none."""
    try:
        there, here = (email.utils.parsedate_to_datetime(text) for text in (date, now))
        return (there - here).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date; a date without a zone; year 10000
        return math.nan
