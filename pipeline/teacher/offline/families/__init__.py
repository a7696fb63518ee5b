"""All families of the grammar; a new one is a line in its module's tuple."""

from __future__ import annotations

from pipeline.teacher.offline.families import (
    code,
    kinds,
    knowledge,
    prose,
    rewriting,
    sums,
    tables,
    verdicts,
    wordplay,
)

FAMILIES = (
    *sums.FAMILIES,
    *verdicts.FAMILIES,
    *kinds.FAMILIES,
    *rewriting.FAMILIES,
    *tables.FAMILIES,
    *code.FAMILIES,
    *knowledge.FAMILIES,
    *wordplay.FAMILIES,
    *prose.FAMILIES,
)
