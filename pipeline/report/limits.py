"""How much a page holds at most; the command line reads it for its help, so nothing is imported."""

MOST_ROWS = 20_000
"""Rows of all its runs."""
MOST_BYTES = 25_000_000
"""The whole file."""
