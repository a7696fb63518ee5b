"""What a fault is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Params = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One way to misbehave, and where in the making of a reply it strikes.

    Stages, in their order: `refuse` answers instead of the teacher (nothing was generated), `text`
    changes what it wrote, `json` the envelope, `bytes` the finished reply, `wire` how it is sent.
    """

    name: str
    row: int  # of the fault matrix
    stage: str
    apply: Callable[..., Any]
    params: Params
    bills: bool = True  # whether the tokens are billed although the client may not learn of them
    stream_only: bool = False
