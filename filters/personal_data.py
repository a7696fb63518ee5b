"""Personal data in texts: e-mail addresses, phone numbers, IBANs, cards, national ids, IPs.

What cannot belong to anybody is none: domains, numbers and addresses that are reserved for examples
(RFC 2606, RFC 5737, 555 numbers, Ofcom's numbers for drama), published test cards, private and
loopback addresses. Checksums and numbering plans are those of `python-stdnum` and `phonenumbers`
(extra `clean`). Where a number alone proves nothing, the words before it decide.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from importlib import import_module

import polars as pl

from filters.phone_numbers import MAY_BE_A_PHONE, phone_numbers
from filters.spans import WIDE, Finder, Span, chosen, verdict_of
from filters.word_lists import lines

KINDS = ("email", "phone", "iban", "card", "national_id", "ip_address")
NAMES = {
    "email": "e-mail address",
    "phone": "phone number",
    "iban": "IBAN",
    "card": "card number",
    "national_id": "national id",
    "ip_address": "IP address",
}

LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ\u0300-\u052f"  # Latin, Greek and Cyrillic ones, and their accents
HAN = "[\u4e00-\u9fff]"
EMAIL = re.compile(
    rf"(?<![{LETTERS}0-9._%+/-])([{LETTERS}0-9_](?:[{LETTERS}0-9._%+-]{{0,62}}[{LETTERS}0-9_+-])?"
    rf"|(?<!{HAN}){HAN}{{2,4}}[0-9]{{0,4}})"
    r"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5})([A-Za-z]{2,24})(?![A-Za-z0-9@-])"
)
LOGIN = re.compile(r"://[^\s/@]*$")  # a user in an address, which is no mail address
NOBODYS_DOMAIN = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu)|(?:\w+\.)?(?:example|test|invalid|localhost|local))$"
)
NOBODY = {
    "git",
    "example",
    "you",
    "yourname",
    "your.name",
    "your_name",
    "youremail",
    "your-email",
    "your_email",
}
PLACEHOLDER = re.compile(
    r"^(?:your|my|user|name|first|last|someone|somebody|abc|x+|email|username|me)?[._-]?"
    r"(?:your|user|name|last|lastname|email|e-mail|username|address|x*)?@"
    r"(?:(?:your|my|some)?-?(?:domain|company|companyname|email|website|site|mail|address|xyz|abc)\.\w+)$",
    re.IGNORECASE,
)

IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ .-]?[A-Za-z0-9]{1,4}){3,9}")
BEGINS_A_NUMBER = r"(?<![0-9A-Za-z_./#+=*×÷-])(?<![0-9] )"
ENDS_A_NUMBER = r"(?![0-9A-Za-z_*×÷=]|[ ./,-][0-9])"
CARD = re.compile(
    rf"{BEGINS_A_NUMBER}(?:[0-9]{{14,19}}"
    rf"|[0-9]{{4}}([ .-])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}(?:\1[0-9]{{3}})?"
    rf"|3[0-9]{{3}}([ .-])[0-9]{{6}}\2[0-9]{{4,5}}){ENDS_A_NUMBER}"
)
ISSUED = re.compile(
    r"4\d{15}|4\d{18}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}"
)
TEST_CARDS = {
    *("4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556"),
    *("5555555555554444", "5105105105105100", "5200828282828210", "5424000000000015"),
    *("2223003122003222", "2223000048400011", "378282246310005", "371449635398431"),
    *("378734493671000", "6011111111111117", "6011000990139424", "3530111333300000"),
    *("3566002020360505", "30569309025904", "38520000023237", "3056930009020004"),
    *("4000000000000002", "4007000000027", "4000000000009995", "6200000000000005"),
}

BEFORE = 28  # characters before a number whose words say what it is

NO_NETWORK = r"/(?!(?:[89]|[1-9][0-9]{1,2})(?![0-9A-Za-z_./-]))"  # 81.169.145.0/24 is one
IPV4 = re.compile(
    r"(?<![0-9A-Za-z._-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    rf"(?![0-9A-Za-z_]|[.-][0-9A-Za-z]|{NO_NETWORK})"
)
IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}"
    rf"(?![0-9A-Za-z:]|{NO_NETWORK})"
)
OF_ALL = {  # resolvers that everybody uses
    *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "114.114.114.114", "223.5.5.5"),
    *("2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111"),
}
SMALL = 20  # numbers of versions and sections are hardly ever greater
ADDRESS = re.compile(
    r"(?:(?<![A-Za-z])ip|address|server|host|ping|地址|服务器|主机)[^.。\n]{0,20}$", re.I
)
VERSION = re.compile(
    r"(?:(?<![A-Za-z])(?:v|ver|version|release|build|section|chapter)|版本|版|章|节)[^.。\n]{0,12}$",
    re.I,
)

Check = tuple[str, str, str]
"""A pattern, the module of `stdnum` that checks it, and words that stand before it, or none."""
NATIONAL_IDS: tuple[Check, ...] = (
    (r"[1-9][0-9]{16}[0-9Xx]", "stdnum.cn.ric", ""),
    (r"[0-9]{3}-[0-9]{2}-[0-9]{4}", "stdnum.us.ssn", ""),
    (r"[0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4}", "stdnum.us.ssn",
     r"ssn|social security|社会安全|社保"),
    (r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "stdnum.br.cpf", ""),
    (r"[0-9]{11}", "stdnum.br.cpf", r"cpf"),
    (r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]", "stdnum.it.codicefiscale", ""),
    (r"[12](?: ?[0-9]{2}){3}(?: ?[0-9]{3}){2} ?[0-9]{2}", "stdnum.fr.nir", ""),
    (r"[0-9]{6}-[1-4][0-9]{6}", "stdnum.kr.rrn", ""),
    (r"[0-9]{8}-?[A-Z]", "stdnum.es.dni", r"dni|nif|documento"),
    (r"[XYZ]-?[0-9]{7}-?[A-Z]", "stdnum.es.nie", ""),
    (r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", "stdnum.in_.aadhaar", r"aadhaar|uidai"),
    (r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", "stdnum.de.idnr", r"steuer|idnr|tax id"),
    (r"[0-9]{9}", "stdnum.nl.bsn", r"bsn|burgerservice"),
    (r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}", "stdnum.ca.sin", r"sin|social insurance"),
    (r"[0-9]{11}", "stdnum.pl.pesel", r"pesel"),
    (r"[0-9]{6}[-+]?[0-9]{4}", "stdnum.se.personnummer", r"personnummer|personal identity number"),
    (r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", "",
     r"national insurance|nino|ni (?:number|no)"),
)  # fmt: skip
PROVINCES = {
    *(
        "11",
        "12",
        "13",
        "14",
        "15",
        "21",
        "22",
        "23",
        "31",
        "32",
        "33",
        "34",
        "35",
        "36",
        "37",
        "41",
    ),
    *(
        "42",
        "43",
        "44",
        "45",
        "46",
        "50",
        "51",
        "52",
        "53",
        "54",
        "61",
        "62",
        "63",
        "64",
        "65",
        "71",
    ),
    *("81", "82", "83"),
}
EXAMPLE_IDS = {"078051120", "219099999", "123456789", "AB123456C", "QQ123456C", "123121234"}


def personal_data(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    kinds: Sequence[str] = KINDS,
) -> pl.DataFrame:
    """Drop rows with personal data of one of `kinds` in a text of theirs.

    Reasons are the kinds: `email`, `phone` (valid by its country's plan), `iban` and `card` (valid
    by their check digits), `national_id` (of 14 countries, of a form of its own or named before
    it), `ip_address` (one of the public internet). A null is empty. Returns one row an entry, in
    order: `reason` (String, null where the row is kept) and `detail` (String: every kind, where,
    and how often, never the data; null where the row is kept).
    """
    columns = {"instruction": instruction, "input": input, "output": output}
    return verdict_of(columns, chosen(FINDERS, kinds), NAMES)


def is_counted(before: str) -> bool:
    """Whether the words right before a number say that it is an order's, a book's and the like.

    >>> is_counted("Order no. "), is_counted("快递单号："), is_counted("my number is ")
    (True, True, False)
    """
    return _counted().search(before[-BEFORE:]) is not None


@lru_cache
def _counted() -> re.Pattern[str]:
    listed = "|".join(lines("not_a_number_of_a_person"))
    return re.compile(
        rf"(?<![A-Za-z])(?:{listed})(?:\W{{0,3}}(?:numbers?|no\.?|num|code|id|#|号码?|为|是|is|was))*\W{{0,4}}$",
        re.I,
    )


def _emails(text: str) -> Iterator[Span]:
    ends = _top_level()
    for met in EMAIL.finditer(text):
        local, domain, end = met[1], met[2].lower(), met[3].lower()
        if (len(end) > 2 and end not in ends) or ".." in local or ".@" in met[0]:
            continue
        if (
            local.lower() in NOBODY
            or NOBODYS_DOMAIN.search(domain + end)
            or PLACEHOLDER.match(met[0])
        ):
            continue
        if not LOGIN.search(text[max(0, met.start() - 80) : met.start()]):
            yield Span(*met.span())


@lru_cache
def _top_level() -> frozenset[str]:
    return frozenset(lines("top_level_domains"))


def _ibans(text: str) -> Iterator[Span]:
    is_valid = import_module("stdnum.iban").is_valid
    for met in IBAN.finditer(text):
        end = met.end()
        while end - met.start() >= 15:  # words that follow in capitals belong to it as little
            is_whole = end == len(text) or not (text[end].isascii() and text[end].isalnum())
            if is_whole and is_valid(text[met.start() : end]):
                yield Span(met.start(), end)
                break
            end -= 1


def _cards(text: str) -> Iterator[Span]:
    is_valid = import_module("stdnum.luhn").is_valid
    for met in CARD.finditer(text):
        digits = re.sub("[ .-]", "", met[0])
        is_issued = ISSUED.fullmatch(digits) is not None and len(set(digits)) > 3
        if not is_issued or digits in TEST_CARDS or not is_valid(digits):
            continue
        if not is_counted(text[max(0, met.start() - BEFORE) : met.start()]):
            yield Span(*met.span())


def _national_ids(text: str) -> Iterator[Span]:
    found: list[Span] = []
    taken = bytearray(len(text))
    for pattern, named, words in _ids():
        for met in pattern.finditer(text):
            before = text[max(0, met.start() - BEFORE) : met.start()]
            digits = re.sub("[ -]", "", met[0])
            if (words and not words.search(before)) or digits in EXAMPLE_IDS:
                continue
            if not words and is_counted(before):
                continue
            if any(taken[met.start() : met.end()]):
                continue
            if not named or _is_valid(named, met[0]):
                found.append(Span(*met.span()))
                taken[met.start() : met.end()] = b"\1" * len(met[0])
    yield from sorted(found)


def _is_valid(named: str, said: str) -> bool:
    """By its library, but a resident id of China whose county did not exist yet is one too."""
    module = import_module(named)
    if named != "stdnum.cn.ric":
        return bool(module.is_valid(said))
    number = said.upper()
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    is_province = number[:2] in PROVINCES and born.year >= 1880
    return is_province and bool(module.calc_check_digit(number) == number[-1])


@lru_cache
def _ids() -> tuple[tuple[re.Pattern[str], str, re.Pattern[str] | None], ...]:
    return tuple(
        (
            re.compile(rf"{BEGINS_A_NUMBER}(?:{pattern}){ENDS_A_NUMBER}"),
            named,
            re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])", re.I) if words else None,
        )
        for pattern, named, words in NATIONAL_IDS
    )


def _ip_addresses(text: str) -> Iterator[Span]:
    for met in sorted([*IPV4.finditer(text), *IPV6.finditer(text)], key=lambda one: one.start()):
        try:
            address = ipaddress.ip_address(met[0])
        except ValueError:
            continue
        if not address.is_global or address.is_multicast or str(address) in OF_ALL:
            continue
        before = text[max(0, met.start() - BEFORE) : met.start()]
        if address.version == 4:
            is_small = max(map(int, met[0].split("."))) <= SMALL
            if VERSION.search(before) or (is_small and not ADDRESS.search(before)):
                continue
        yield Span(*met.span())


MAY_BE_AN_EMAIL = rf"[{LETTERS}0-9_+-]@[A-Za-z0-9]|{HAN}@[A-Za-z0-9]|＠"
MAY_BE_AN_IBAN = r"[A-Za-z]{2}[0-9]{2}(?:[ .-]?[A-Za-z0-9]{1,4}){3}[0-9]"
MAY_BE_AN_ID = (
    r"[0-9]{17}|[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-|[A-Z]{6}[0-9]{2}|[0-9]{6}-[0-9]{7}"
    r"|[XYZ]-?[0-9]{7}|[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"
    r"|(?i:ssn|social security|社会安全|社保|cpf|dni|nif|documento|aadhaar|uidai|steuer|idnr"
    r"|tax id|bsn"
    r"|burgerservice|sin[ :]|social insurance|pesel|personnummer|personal identity"
    r"|national insurance|nino|ni n)"
)
FINDERS = {
    "email": Finder(MAY_BE_AN_EMAIL, _emails, folds=True),
    "phone": Finder(
        rf"{MAY_BE_A_PHONE}|{WIDE}",
        lambda text: phone_numbers(text, is_counted),
        ("phonenumbers",),
        folds=True,
    ),
    "iban": Finder(rf"{MAY_BE_AN_IBAN}|{WIDE}", _ibans, ("stdnum",), folds=True),
    "card": Finder(
        rf"[0-9]{{14}}|[0-9]{{4}}[ .-][0-9]{{4,6}}[ .-][0-9]{{4}}|{WIDE}",
        _cards,
        ("stdnum",),
        folds=True,
    ),
    "national_id": Finder(rf"{MAY_BE_AN_ID}|{WIDE}", _national_ids, ("stdnum",), folds=True),
    "ip_address": Finder(
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]"
        rf"|{WIDE}",
        _ip_addresses,
        folds=True,
    ),
}
"""How each kind is found, in the order in which a verdict names them."""
