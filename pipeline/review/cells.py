"""Cells of a CSV that a spreadsheet shows as they are: no formula, no number made of a text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from pipeline.errors import InputError

FORMULA_STARTS = frozenset("=+-@\t\r\n\0＝＋－＠")
"""What makes a spreadsheet run a cell, or is stepped over by one (OWASP, "CSV injection")."""
BLANKS = re.compile(r"[\s\x00-\x20\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*")
"""What programs trim before they look at a cell, or nobody sees."""
NUMBER = re.compile(r"[\d\s.,:;/()%eE+'\u2212-]*")
"""What a number, a date or a time is written in, however long."""
LONGEST = 30_000
"""Characters of a cell; a spreadsheet takes 32,767 and cuts the rest off."""
SHORT = 40
"""Up to so many characters a text with a digit may be taken for a number or a date."""
CUT = " [...]"
BOM = b"\xef\xbb\xbf"
DELIMITERS = (",", ";", "\t")
MARK = "'"


def is_run(text: str) -> bool:
    r"""Whether a spreadsheet may run a cell of this text, or may once it is trimmed.

    >>> is_run("=1+1"), is_run(" \t＝1"), is_run("1+1"), is_run(" a=1")
    (True, True, False, False)
    """
    found = BLANKS.match(text)
    first = text[found.end() : found.end() + 1] if found else ""
    return text[:1] in FORMULA_STARTS or first in FORMULA_STARTS


def cell(text: str) -> str:
    """A text as it stands in a cell: cut, and after an apostrophe where it would be changed.

    >>> cell("=1+1"), cell("1/2"), cell("'a'"), cell("Say yes.")
    ("'=1+1", "'1/2", "''a'", 'Say yes.')
    """
    if len(text) > LONGEST:
        text = text[: LONGEST - len(CUT)] + CUT
    is_short = len(text) <= SHORT and (
        any(sign.isdigit() for sign in text) or text.strip().lower() in ("true", "false")
    )
    is_number = NUMBER.fullmatch(text) is not None
    changes = is_run(text) or text[:1] == MARK or text[:1].isspace() or is_short or is_number
    return MARK + text if text and changes else text


def text_of(found: str) -> str:
    """The text of a cell that `cell` made, as far as it was not cut.

    >>> text_of("'=1+1"), text_of("''a'"), text_of("Say yes.")
    ('=1+1', "'a'", 'Say yes.')
    """
    return found.removeprefix(MARK)


def as_shown(text: str) -> str:
    """What people see of a text: line breaks are one kind, control signs and outer space none."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(sign for sign in lines if sign.isprintable() or sign in "\n\t").strip()


def write(names: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV that Excel and LibreOffice open as UTF-8: every cell quoted, lines end in CR LF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows(rows)
    return BOM + out.getvalue().encode(errors="replace")


def read(
    content: bytes, wanted: Sequence[str], *, where: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows of a CSV as a spreadsheet saves it, each with its line's number.

    UTF-8 with or without a mark, or UTF-16 with one; commas, semicolons or tabs, whichever gives a
    header with the `wanted` names. Raises `InputError` that says what to do.
    """
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 (byte {error.start}): save it as CSV in UTF-8."
        ) from error
    headers = [_header(text, delimiter) for delimiter in DELIMITERS]
    fitting = [
        (delimiter, header)
        for delimiter, header in zip(DELIMITERS, headers, strict=True)
        if set(wanted) <= set(header)
    ]
    if not fitting:
        lacking = min((sorted(set(wanted) - set(header)) for header in headers), key=len)
        raise InputError(
            f"{where} lacks the column {lacking[0]}: the first line names "
            f"{', '.join(wanted)}, as the sheet had them."
        )
    delimiter, header = fitting[0]
    csv.field_size_limit(2**24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{where}: line {line}: no CSV ({error}).") from error
    return header, [(at, row) for at, row in rows[1:] if any(cell.strip() for cell in row)]


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return [
            name.strip()
            for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        ]
    except csv.Error:
        return []
