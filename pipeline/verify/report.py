"""What a recount found."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.terminal import shorten

LONGEST_FINDING = 300  # characters


@dataclass
class Report:
    """What was counted, what is wrong (`findings`) and what could not be looked at (`notes`)."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    records: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find(self, where: str, what: str) -> None:
        """Add one line about what is wrong in the file `where`."""
        self.findings.append(shorten(f"{where}: {what}", LONGEST_FINDING))
