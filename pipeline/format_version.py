"""What is said of a file that a later synth has written."""

from __future__ import annotations

from pipeline.errors import RecipeError
from pipeline.version import VERSION


def refuse_newer(where: object, found: int, known: int, needs: object = None) -> None:
    """Raise `RecipeError` where a format is newer than the one known.

    `needs` is the first synth that reads it, where the file says so.
    """
    if found > known:
        raise RecipeError(
            f"{where} has format {found}, and this synth, {VERSION}, knows {known}: it needs synth "
            f">= {needs or 'the one that wrote it'}."
        )
