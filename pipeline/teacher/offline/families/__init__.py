"""All families of the grammar; a new one is a line in its module's tuple."""

from __future__ import annotations

from pipeline.teacher.offline.families import kinds, sums, verdicts

FAMILIES = (*sums.FAMILIES, *verdicts.FAMILIES, *kinds.FAMILIES)
