"""Text from models and files, made safe to print: what could steer a terminal is made visible."""

from __future__ import annotations

import unicodedata

_KEEP = "\n\t"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def safe(text: str, *, keep_lines: bool = True) -> str:
    r"""Show control, format (bidi, zero-width), private and unassigned characters as `\xNN`.

    Line breaks and tabs stay where `keep_lines`, else they become spaces.
    """
    if not keep_lines:
        text = " ".join(text.split())
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _KEEP or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def shorten(text: str, width: int) -> str:
    """One line of at most `width` terminal cells (a Chinese character takes two), safe to print."""
    from rich.cells import cell_len, set_cell_size

    line = safe(text, keep_lines=False)
    if cell_len(line) <= width:
        return line
    return set_cell_size(line, max(width - 1, 0)).rstrip() + "…"
