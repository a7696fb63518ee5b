"""Take rows in from a finished run or a file: the first stage where data is the start.

A file is Parquet or JSON Lines with the column `instruction`, and `input` and `output` where there
are any. A row of a run keeps its columns and its id; a row of a file is called after its line.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipeline.stage import EXTENT, OPERATIONAL, Drop, ImportStage, Row, StageConfig

TEXTS = ("instruction", "input", "output")


class Config(StageConfig):
    """Settings of `import`: where the rows come from (set by `--input`) and how many are read."""

    path: Annotated[str, OPERATIONAL] = ""  # its content is identity
    rows: Annotated[int | None, Field(ge=1), EXTENT] = None


def read(number: int, found: dict[str, Any], source: str) -> Row | Drop:
    """One row of a file, counted from 0, as ours; not text, or no instruction, is a `Drop`."""
    row: Row = {
        "row_id": f"import-{number:06d}-00",
        "origin": "import",
        "source": source,
        "root_id": f"import-{number:06d}-00",
    }
    for name in TEXTS:
        value = found.get(name)
        if value is not None and not isinstance(value, str):
            return Drop("not_text", f"{name} is a {type(value).__name__}", row=row)
        if value is not None and not _is_unicode(value):
            return Drop("not_text", f"{name} is not valid Unicode", row=row)
        row[name] = value
    if not (row["instruction"] or "").strip():
        return Drop("empty_instruction", row=row)
    return row


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


STAGE = ImportStage(
    name="import",
    version=1,
    summary="take rows in from a finished run or a file (--input)",
    config=Config,
    read=read,
    writes=("row_id", "origin", "source", "root_id", *TEXTS),
)
