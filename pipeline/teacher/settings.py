"""Settings of a teacher, a judge or a scorer, of its prices and of what may be spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.stage import IDENTITY, OPERATIONAL, Settings


class TeacherSettings(Settings):
    """Whom to ask, and how hard. The served model's name is identity, the server's address is not.

    Durations are seconds. `attempts` is how often one slot is asked while its replies cannot be
    used. `insecure_http` lets a key go to another machine over plain http, where others can read
    it. A text in place of the settings is the URI.
    """

    uri: Annotated[str | None, OPERATIONAL] = None
    key: Annotated[str | None, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$"), OPERATIONAL] = None
    insecure_http: Annotated[bool, OPERATIONAL] = False
    endpoint: Annotated[Literal["chat", "completions"], IDENTITY] = "chat"
    max_tokens_name: Annotated[Literal["max_tokens", "max_completion_tokens"], IDENTITY] = (
        "max_tokens"
    )
    attempts: Annotated[int, Field(ge=1, le=20), IDENTITY] = 3
    concurrency: Annotated[int, Field(ge=1, le=4096), OPERATIONAL] = 32
    connect_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 10.0
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 300.0
    idle_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 60.0
    outage_limit_s: Annotated[float, Field(ge=0), OPERATIONAL] = 1800.0
    grace_s: Annotated[float, Field(ge=0), OPERATIONAL] = 20.0
    max_reply_mib: Annotated[float, Field(gt=0), OPERATIONAL] = 8.0

    @model_validator(mode="before")
    @classmethod
    def _uri_alone(cls, given: object) -> object:
        return {"uri": given} if isinstance(given, str) else given


class Price(Settings):
    """US dollars for a million tokens."""

    input: Annotated[Decimal, Field(ge=0), OPERATIONAL]
    output: Annotated[Decimal, Field(ge=0), OPERATIONAL]


class Budget(Settings):
    """Caps of one run over all its stages, retries and judges included; null is no cap."""

    usd: Annotated[Decimal | None, Field(gt=0), OPERATIONAL] = None
    tokens: Annotated[int | None, Field(ge=1), OPERATIONAL] = None
    requests: Annotated[int | None, Field(ge=1), OPERATIONAL] = None

    @property
    def is_capped(self) -> bool:
        """Whether any cap is set."""
        return any(cap is not None for cap in (self.usd, self.tokens, self.requests))
