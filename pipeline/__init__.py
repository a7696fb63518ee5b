"""Make and curate instruction-tuning data.

From Python: `from pipeline import open_run` gives Polars frames of any stage of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.inspect import open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> object:
    """Import `open_run`, and polars with it, when it is first asked for."""
    if name != "open_run":
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    from pipeline.inspect import open_run

    return open_run
