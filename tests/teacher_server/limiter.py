"""A token-bucket limiter in requests and in tokens, with truthful x-ratelimit headers."""

import math
from dataclasses import dataclass, field
from time import monotonic
from typing import Any


@dataclass(slots=True)
class Bucket:
    """Fills at `rate` a second up to `size`."""

    rate: float
    size: float
    level: float
    at: float

    def fill(self, now: float, scale: float) -> None:
        """Add what came in since the last call."""
        self.level = min(self.size, self.level + (now - self.at) * self.rate * scale)
        self.at = now


@dataclass
class Limiter:
    """Limits by key, or all keys together.

    Settings: `rps` and `burst` (requests), `tps` and `token_burst` (tokens of prompt and reply),
    `per_key`, and `schedule`: pairs of seconds since the plan was set and a factor on both rates.
    """

    rps: float | None = None
    burst: float | None = None
    tps: float | None = None
    token_burst: float | None = None
    per_key: bool = True
    schedule: list[tuple[float, float]] = field(default_factory=list)
    scale: float = 1.0
    ahead_s: float = 0.0  # how far `advance` has moved the clock

    def __post_init__(self) -> None:
        self._start = monotonic()
        self._buckets: dict[str, tuple[Bucket | None, Bucket | None]] = {}

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.ahead_s += seconds

    def factor(self, now: float) -> float:
        """The factor on both rates at this moment."""
        factor = self.scale
        for after_s, scale in self.schedule:
            if now - self._start >= after_s:
                factor = self.scale * scale
        return factor

    def admit(self, key: str, cost: int) -> tuple[float | None, dict[str, str]]:
        """Ask for one request of `cost` tokens.

        Returns null if it may pass, else the seconds until it could; and the headers to send.
        """
        now = monotonic() + self.ahead_s
        scale = self.factor(now)
        requests, tokens = self._pair(key if self.per_key else "", now)
        wait = 0.0
        asked: list[tuple[Bucket, float]] = []
        for bucket, amount in ((requests, 1.0), (tokens, float(cost))):
            if bucket is None:
                continue
            bucket.fill(now, scale)
            amount = min(amount, bucket.size)  # what could never pass takes all there is
            asked.append((bucket, amount))
            if bucket.level + 1e-9 < amount:
                wait = max(wait, (amount - bucket.level) / max(bucket.rate * scale, 1e-9))
        if not wait:
            for bucket, amount in asked:
                bucket.level -= amount
        headers: dict[str, str] = {}
        for name, bucket in (("requests", requests), ("tokens", tokens)):
            if bucket is not None:
                reset = (bucket.size - bucket.level) / max(bucket.rate * scale, 1e-9)
                headers[f"x-ratelimit-limit-{name}"] = f"{bucket.size:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = f"{math.floor(bucket.level + 1e-9)}"
                headers[f"x-ratelimit-reset-{name}"] = span(reset)
        return (wait or None), headers

    def _pair(self, key: str, now: float) -> tuple[Bucket | None, Bucket | None]:
        pair = self._buckets.get(key)
        if pair is None:
            pair = (_bucket(self.rps, self.burst, now), _bucket(self.tps, self.token_burst, now))
            self._buckets[key] = pair
        return pair


def _bucket(rate: float | None, size: float | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    size = max(1.0, rate) if size is None else size
    return Bucket(rate, size, size, now)


def span(seconds: float) -> str:
    """Write a time span as OpenAI does: 850ms, 1.5s, 6m0s, 1h0m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 1000) / 1000:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def parse_limiter(settings: dict[str, Any] | None) -> Limiter | None:
    """Build a limiter from a plan; unknown settings raise TypeError."""
    return Limiter(**settings) if settings else None
