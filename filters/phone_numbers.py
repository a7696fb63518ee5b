"""Phone numbers in texts, valid by the numbering plan of a country (`phonenumbers`, extra `clean`).

A number is looked for as it is written with a country code, as in North America and China, or after
words that announce one. Numbers that nobody has are none: 555 numbers of North America, which are
not given out, and those that Ofcom keeps for drama.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from filters.spans import Span

REGIONS = ("US", "CN", "GB", "DE", "FR", "IN", "AU", "JP", "ES", "IT", "BR")
"""Whose numbers are known without a country code, where words announce one."""
BEGINS = r"(?<![0-9A-Za-z_./#+=*×÷-])(?<![0-9] )"
ENDS = r"(?![0-9A-Za-z_*×÷=]|[./,-][0-9]| [0-9]{3})"
INTERNATIONAL = re.compile(r"(?<![0-9A-Za-z+.])\+[0-9][0-9 ().\u00a0-]{6,20}[0-9](?![0-9])")
PLAIN = (
    (
        "US",
        re.compile(
            rf"{BEGINS}(?:\+?1[ .-]?)?(?:\([2-9][0-9]{{2}}\)[ -]?[2-9][0-9]{{2}}[ .-]"
            rf"|[2-9][0-9]{{2}}([ .-])[2-9][0-9]{{2}}\1)[0-9]{{4}}{ENDS}"
        ),
    ),
    (
        "CN",
        re.compile(
            rf"{BEGINS}(?:(?:86[ -]?)?1[3-9][0-9](?:[0-9]{{8}}|([ -])[0-9]{{4}}\1[0-9]{{4}})"
            r"|(?:[(（]0[0-9]{2,3}[)）] ?|0[0-9]{2,3}[- ])[2-9][0-9]{6,7}"
            rf"|400-?[0-9]{{3}}-[0-9]{{4}}|400-[0-9]{{4}}-[0-9]{{3}}){ENDS}"
        ),
    ),
)
ANNOUNCED = re.compile(
    r"(?:(?<![A-Za-z])(?i:(?:tele|cell)?phone|tel|mobile|cell|fax"
    r"|call(?: \w+){0,2}(?: (?:at|on))?|whatsapp|dial"
    r"|text me)(?![A-Za-z])|电话|手机|座机|致电|拨打|来电|传真|热线|微信)"
    r"(?:\s?(?:numbers?|no\.?|is|are|号码?|是|为|at|on|me|us|她|他|我))*[\s:：.=#]{0,3}"
    r"(?!(?:[0-9]{1,3}\.){3}[0-9])(\(?\+?[0-9][0-9 ().\u00a0/-]{7,20}[0-9])(?![0-9A-Za-z_*%])"
)
NORTH_AMERICAN = re.compile(r"(?:1[ .-])?\(?[0-9]{3}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}")
NOBODYS = re.compile(
    r"\+1(?!8(?:00|33|44|55|66|77|88))[2-9]\d\d555\d{4}"  # 555 was never given to anybody
    r"|\+44(?:2079460\d{3}|7700900\d{3}|1632960\d{3}"
    r"|(?:113|114|115|116|117|118|121|131|141|151|161)496\d{4}"
    r"|2890180\d{3}|2920180\d{3}|3069990\d{3}|8081570\d{3}|9098790\d{3}|1914980\d{3})"
    r"|\+61(?:[2378][57]010\d{4}|491570\d{3})|\+33(?:[1-5]9900|63998)\d{4}|\+12345678901"
    r"|\+86138001380\d\d|\+8613[0-9]00000000"
)
COUNTED = re.compile(
    r"(?:account|acct|(?<![A-Za-z])id|账号|账户|卡号)\W{0,3}(?:number|no\.?|号)?\W{0,3}$",
    re.IGNORECASE,
)
MAY_BE_A_PHONE = (
    r"\+[0-9][0-9 ().\u00a0-]{6}|[2-9][0-9]{2}[).-][ -]?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}"
    r"|1[3-9][0-9]([0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})|0[0-9]{2,3}[)） -] ?[2-9][0-9]{6}"
    r"|400-?[0-9]{3,4}-[0-9]{3}"
    r"|(?i:phone|tel|mobile|cell|fax|call|whatsapp|dial|text me|电话|手机|座机|致电|拨打|来电|传真"
    r"|热线|微信)[^\n]{0,40}[0-9][0-9 ().\u00a0/-]{7}"
)  # fmt: skip


def phone_numbers(text: str, is_counted: Callable[[str], bool]) -> Iterator[Span]:
    """Where phone numbers stand; `is_counted` tells from the words before what is none."""
    found: list[Span] = []
    taken = bytearray(len(text))
    for met in INTERNATIONAL.finditer(text):
        _take(text, met.start(), met.end(), None, found, taken)
    for region, pattern in PLAIN:
        for met in pattern.finditer(text):
            before = text[max(0, met.start() - 28) : met.start()]
            if not is_counted(before) and not COUNTED.search(before):
                _take(text, met.start(), met.end(), region, found, taken)
    for met in ANNOUNCED.finditer(text):
        for region in ("US",) if NORTH_AMERICAN.fullmatch(met[1]) else REGIONS:
            if _take(text, *met.span(1), region, found, taken, whole=True):
                break
    yield from sorted(found)


def _take(
    text: str,
    start: int,
    end: int,
    region: str | None,
    found: list[Span],
    taken: bytearray,
    *,
    whole: bool = False,
) -> bool:
    """Note a number, or, unless it must be the `whole`, its longest beginning that is one.

    `taken` is 1 where a number stands. Gives whether there was one.
    """
    if any(taken[start:end]):
        return True
    while sum(map(str.isdigit, text[start:end])) >= 8:
        if number := _number(text[start:end], region):
            if not NOBODYS.fullmatch(number):
                while not (text[end - 1].isdigit()):
                    end -= 1
                found.append(Span(start, end))
                taken[start:end] = b"\1" * (end - start)
            return True
        if whole:
            return False
        shorter = max(text.rfind(sign, start, end - 1) for sign in " .-()/\u00a0")
        if shorter <= start:
            return False
        end = shorter
    return False


@lru_cache(maxsize=4096)
def _number(said: str, region: str | None) -> str | None:
    """A valid number in the form +COUNTRY and digits, else null."""
    import phonenumbers

    try:
        number = phonenumbers.parse(said, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
