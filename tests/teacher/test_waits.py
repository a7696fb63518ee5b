"""How long a server asks us to wait: any header, sound or not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teacher.retry_after import MAX_WAIT_S, asked_wait_s

NOON = "Fri, 20 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1000000000"}, MAX_WAIT_S),
        ({"retry-after": "inf"}, MAX_WAIT_S),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon, I think"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1", "retry-after-ms": "20"}, 0.02),
        ({"retry-after": "7", "retry-after-ms": "later"}, 7.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:07 GMT", "date": NOON}, 7.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:59:00 GMT", "date": NOON}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:07 -0000", "date": NOON}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:07 GMT"}, None),
    ],
)
def test_a_pause_is_read_from_a_number_or_a_date_and_is_bounded(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert asked_wait_s(headers) == wait_s


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_header_is_an_error(headers: dict[str, str]) -> None:
    wait_s = asked_wait_s(headers)
    assert wait_s is None or (0 < wait_s <= MAX_WAIT_S and math.isfinite(wait_s))
