"""Cases that only a long run of the tests takes: with SYNTH_SOAK set."""

import os
from typing import Any

import pytest

SOAK = bool(os.environ.get("SYNTH_SOAK"))
REASON = "others like it are tried; set SYNTH_SOAK"


def soaked(value: Any, is_long: bool = True) -> Any:
    """A parameter that is skipped, with the reason, where it is long and nobody soaks."""
    return pytest.param(value, marks=pytest.mark.skipif(is_long and not SOAK, reason=REASON))
