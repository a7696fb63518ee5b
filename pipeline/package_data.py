"""Where the data that ships with the package lies: prompts, seed tasks, recipes."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

PROMPTS = _HERE.parent / "prompts"
SEEDS = _HERE.parent / "seeds"
RECIPES = _HERE / "recipes"
