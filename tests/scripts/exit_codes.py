"""What a scheduler does with each exit code of `synth`: the table that the batch jobs keep to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass(frozen=True)
class Means:
    """What one exit code leads to."""

    slurm: Literal["ends", "queued again"]
    kubernetes: Literal["complete", "FailJob", "Count"]
    cron: Literal["quiet", "mail", "again"]


CODES = {
    0: Means("ends", "complete", "quiet"),
    2: Means("ends", "FailJob", "mail"),  # usage, recipe, data
    3: Means("ends", "FailJob", "mail"),  # budget reached
    4: Means("ends", "FailJob", "mail"),  # stalled
    5: Means("ends", "FailJob", "mail"),  # the teacher refuses
    6: Means("ends", "FailJob", "mail"),  # damaged
    7: Means("ends", "Count", "mail"),  # storage
    8: Means("ends", "Count", "quiet"),  # locked
    70: Means("ends", "FailJob", "mail"),  # a bug
    75: Means("queued again", "Count", "again"),  # interrupted, temporary
}
