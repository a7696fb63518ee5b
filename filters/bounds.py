"""What numbers a filter's settings may be: said where they are declared, checked with a recipe.

A filter that is called from a notebook takes what it is given.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Some = Annotated[int, Field(ge=1)]
"""At least one."""
NoneOrMore = Annotated[int, Field(ge=0)]
Several = Annotated[int, Field(ge=2)]
OfFive = Annotated[int, Field(ge=1, le=5)]
"""A rating of 1 to 5."""
Length = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(ge=1)]
"""How many times as much, at least as much."""
Scale = Annotated[float, Field(gt=0)]
