"""Every error that a user can meet, named for what has to happen next.

A message says what happened, where, and what to do. The exit codes are a contract with schedulers
(README, "Exit codes").
"""

from __future__ import annotations

from typing import ClassVar


class SynthError(Exception):
    """Something that ends the command with one message and an exit code of its own."""

    exit_code: ClassVar[int] = 70
    parts: list[SynthError] = []  # noqa: RUF012 - replaced, never changed
    """Where this is several errors said at once: each of them."""


class RecipeError(SynthError):
    """The recipe, a setting, a template or the command line has to be mended."""

    exit_code = 2


class InputError(SynthError):
    """The seeds or the data given have to be mended."""

    exit_code = 2


class BudgetError(SynthError):
    """A budget is spent; what was made is valid."""

    exit_code = 3


class StallError(SynthError):
    """The run no longer gets anywhere, or has come to nothing; what was made is valid."""

    exit_code = 4


class BrokenStageError(StallError):
    """A stage fails on row after row, or never comes back: its code is wrong, not the data."""


class TeacherError(SynthError):
    """A teacher refuses for good: bad key, unknown model, spent quota, refused parameter."""

    exit_code = 5


class HubError(SynthError):
    """The Hugging Face hub refuses for good: bad token, no right to write there."""

    exit_code = 5


class DamagedError(SynthError):
    """Something in the run directory is not what was written."""

    exit_code = 6


class StorageError(SynthError):
    """The disk is full, read-only, or fails."""

    exit_code = 7


class LockedError(SynthError):
    """Another process works on this run."""

    exit_code = 8


class InterruptedRunError(SynthError):
    """The run ended early for a reason that passes: start the same command again."""

    exit_code = 75


class Problems:
    """Collects everything that is wrong with a command, so that it is said in one pass."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.errors: list[SynthError] = []

    def add(self, error: SynthError) -> None:
        """Note one thing that is wrong, or each of those that another pass found."""
        self.errors += error.parts or [error]

    def raise_if_any(self) -> None:
        """Raise all that was noted as one error, with the exit code of the gravest."""
        if not self.errors:
            return
        gravest = max(self.errors, key=lambda error: error.exit_code)
        if len(self.errors) == 1:
            raise gravest
        listed = "\n".join(f"- {error}" for error in self.errors)
        found = type(gravest)(f"{len(self.errors)} things are wrong; nothing was sent:\n{listed}")
        found.parts = list(self.errors)
        raise found
