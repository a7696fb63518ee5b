"""Secrets in texts: keys of providers, JSON web tokens, private keys, passwords that are assigned.

The patterns are ours, after the prefixes that providers document. `detect-secrets` was tried: on
1,500 real rows it took 2.7 s and found 33,567, as it takes every quoted word for a candidate; its
last release (1.5.0, 2024) does not know the keys of most model providers.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from filters.spans import Finder, Span, chosen, verdict_of

KINDS = ("api_key", "jwt", "private_key", "secret")
NAMES = {
    "api_key": "API key",
    "jwt": "JSON web token",
    "private_key": "private key",
    "secret": "password or secret",
}
KEY_FORMS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # Amazon
    r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{22,244}",
    r"glpat-[A-Za-z0-9_-]{20,64}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-[0-9]-[A-Za-z0-9-]{20,250}",  # Slack
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/]{24,64}",  # Stripe
    r"sk-(?:proj-|svcacct-|admin-|ant-"
    r"|or-v1-)?[A-Za-z0-9_-]{20,250}",  # OpenAI, Anthropic, and their like
    r"hf_[A-Za-z0-9]{30,64}|gsk_[A-Za-z0-9]{40,64}|xai-[A-Za-z0-9]{40,100}|r8_[A-Za-z0-9]{37}",
    r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,250}|GOCSPX-[A-Za-z0-9_-]{28}",  # Google
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
    r"(?:AC|SK)[0-9a-f]{32}|key-[0-9a-f]{32}"
    r"|[0-9a-f]{32}-us[0-9]{1,2}",  # Twilio, Mailgun, Mailchimp
    r"npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,250}|dckr_pat_[A-Za-z0-9_-]{27}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"do[opr]_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}",
    r"LTAI[A-Za-z0-9]{12,26}|AKID[A-Za-z0-9]{32}",  # Alibaba, Tencent
    r"hvs\.[A-Za-z0-9_-]{24,120}|lin_api_[A-Za-z0-9]{40}|ntn_[A-Za-z0-9]{40,50}",
)
KEY = re.compile(rf"(?<![A-Za-z0-9_./+-])(?:{'|'.join(KEY_FORMS)})(?![A-Za-z0-9_])")
MAY_BE_A_KEY = (
    r"A(?:KIA|SIA|BIA|CCA|Iza|KID)|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|[srp]k_(?:live|test)_|whsec_"
    r"|sk-[A-Za-z0-9_-]{20}|hf_[A-Za-z0-9]{30}|gsk_|xai-|r8_|ya29\.|GOCSPX-|SG\.|(?:AC|SK)[0-9a-f]{32}|key-[0-9a-f]{32}"
    r"|[0-9a-f]{32}-us|npm_|pypi-AgE|dckr_pat_|[0-9]{8}:AA|do[opr]_v1_|shp(?:at|ca|pa|ss)_|sq0|LTAI|hvs\.|lin_api_|ntn_"
)  # fmt: skip
JWT = re.compile(
    r"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{8,2000})\.(eyJ[A-Za-z0-9_-]{4,8000})\.([A-Za-z0-9_-]{16,1000})"
)
EXAMPLE_SUBJECT = "1234567890"  # of the token that every introduction shows
BLANK = r"(?:\s|\\n|\\r)*"
PRIVATE_KEY = re.compile(
    rf"-----BEGIN (?:[A-Z0-9]+ ){{0,3}}PRIVATE KEY(?: BLOCK)?-----(?:(?:(?!-----)[\s\S]){{0,20000}}"
    rf"-----END (?:[A-Z0-9]+ ){{0,3}}PRIVATE KEY(?: BLOCK)?-----"
    rf"|(?:{BLANK}[A-Za-z0-9+/=:,-]+){{1,400}})"
)
KEY_LINE = re.compile(r"[A-Za-z0-9+/]{40}")
ASSIGNED = re.compile(
    r"(?i:(?:pass(?:word|wd|phrase|code)?|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|(?:auth|access|refresh|bearer|api)?[_-]?token"
    r"|(?:api|access|account|private|encryption|signing)[_-]?key|client[_-]?secret|credentials?)"
    r"|密码|口令|密钥|令牌)[\"'`]?\s{0,3}(?:=>|:=|=|:|：|(?:is|为|是)(?=\s|[\"'`A-Za-z0-9]))\s{0,3}"
    r"(?P<quote>[\"'`]?)(?P<value>[!#-&(-;=?-_a-~]{12,200})"
)
LOGIN = re.compile(
    r"[a-z][a-z0-9+]{2,15}://[^\s:/@\"'<>]{1,64}:(?P<value>[^\s/@\"'<>]{8,100})@(?=[\w\[])",
    re.IGNORECASE,
)
MAY_BE_ASSIGNED = (
    r"(?i:pass|pwd|secret|token|key|credential|密码|口令|密钥|令牌)[A-Za-z_\"'`-]{0,16}"
    r"[\s\x1c-\x1f]{0,3}(?:[=:：]|is|为|是)|://[^\s:/@]{1,64}:[^\s/@]{8,100}@"
)
CODE = re.compile(
    r"[(){}\[\];$]|^[A-Za-z_]+(?:\.[A-Za-z_]\w*)+$|::|->|^[a-z_]+$|^[A-Z_]+$|^https?:|^/|\.\.\."
)
PLACEHOLDER = re.compile(
    r"ex[a4]mpl[e3]|your|placeholder|dummy|change_?me|replace|insert|sample|redact|x{4}|\*{3}|0{6}|1234567|abcdef|qwerty"
    r"|p[a@]ssw[o0]rd|passw|secret|token|here|todo|fake|foobar|\[\w",
    re.IGNORECASE,
)  # fmt: skip
KEY_PLACEHOLDER = re.compile(
    r"EXAMPLE|your|placeholder|x{5}|\*{3}|0{8}|1234567890|abcdefghij|ABCDEFGHIJ|redact|here|insert",
    re.IGNORECASE,
)
HEX = re.compile(r"[0-9a-fA-F-]+")


def secrets(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    kinds: Sequence[str] = KINDS,
) -> pl.DataFrame:
    """Drop rows with a secret of one of `kinds` in a text of theirs.

    Reasons are the kinds: `api_key` (of a form that a provider documents), `jwt` (its header says
    an algorithm), `private_key` (PEM, whole or cut off), `secret` (12 characters or more that look
    drawn at random, assigned to a name such as password or token, or in an address). Placeholders
    and the keys of documentations are none. A null is empty. Returns one row an entry, in order:
    `reason` (String, null where the row is kept) and `detail` (String: every kind, where, and how
    often, never the secret; null where the row is kept).
    """
    columns = {"instruction": instruction, "input": input, "output": output}
    return verdict_of(columns, chosen(FINDERS, kinds), NAMES)


def entropy(text: str) -> float:
    """Bits a character, by how often each stands in the text (Shannon).

    >>> entropy("aaaa"), entropy("abcd")
    (0.0, 2.0)
    """
    counts = Counter(text).values()
    return sum(-n / len(text) * math.log2(n / len(text)) for n in counts) + 0.0


def _keys(text: str) -> Iterator[Span]:
    for met in KEY.finditer(text):
        said = met[0]
        body = said[-max(12, len(said) * 2 // 3) :]
        has_both = any(map(str.isdigit, said)) or len(said) > 34
        if (
            has_both
            and not KEY_PLACEHOLDER.search(said)
            and entropy(body) >= 2.8
            and not _is_words(said)
        ):
            yield Span(*met.span())


def _is_words(said: str) -> bool:
    """Whether it is made of words joined by signs, as names of styles and files are."""
    parts = re.split(r"[-_]", said)
    return len(parts) > 3 and all(part.isalpha() or len(part) < 4 for part in parts)


def _tokens(text: str) -> Iterator[Span]:
    for met in JWT.finditer(text):
        header, claims = _decoded(met[1]), _decoded(met[2])
        is_example = isinstance(claims, dict) and claims.get("sub") == EXAMPLE_SUBJECT
        if isinstance(header, dict) and "alg" in header and not is_example:
            yield Span(*met.span())


def _decoded(part: str) -> object:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None


def _private_keys(text: str) -> Iterator[Span]:
    for met in PRIVATE_KEY.finditer(text):
        if KEY_LINE.search(met[0]):
            yield Span(*met.span())


def _assigned(text: str) -> Iterator[Span]:
    found = []
    for met in ASSIGNED.finditer(text):
        value = met["value"]
        if not met["quote"]:
            value = value.rstrip(".,;:!?)]}")
        if looks_drawn(value):
            found.append(Span(met.start("value"), met.start("value") + len(value)))
    for met in LOGIN.finditer(text):
        if not PLACEHOLDER.search(met["value"]) and _has_classes(met["value"]):
            found.append(Span(met.start("value"), met.end("value")))
    last = 0
    for span in sorted(found):
        if span.start >= last:
            yield span
            last = span.end


def looks_drawn(value: str) -> bool:
    """Whether a value is one that nobody would make up: no words, no code, signs of all kinds.

    >>> looks_drawn("k3Xv9QmT2bLw7Zpr"), looks_drawn("os.environ.token"), looks_drawn("hunter2")
    (True, False, False)
    """
    if len(value) < 12 or CODE.search(value) or PLACEHOLDER.search(value):
        return False
    if HEX.fullmatch(value):
        return len(value) >= 32 and entropy(value) >= 3 and not value.isdigit()
    return _has_classes(value) and entropy(value) >= (3.0 if len(value) < 20 else 3.4)


def _has_classes(value: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    has = [any(map(kind, value)) for kind in kinds]
    return has[2] and (has[0] or has[1]) and value.isascii() and sum(map(str.isdigit, value)) >= 2


FINDERS = {
    "api_key": Finder(MAY_BE_A_KEY, _keys),
    "jwt": Finder(r"eyJ[A-Za-z0-9_-]{8}", _tokens),
    "private_key": Finder("PRIVATE KEY", _private_keys),
    "secret": Finder(MAY_BE_ASSIGNED, _assigned),
}
"""How each kind is found, in the order in which a verdict names them."""
