"""Texts with personal data and secrets planted in known places, and texts that only look so.

Drawn at random from a seed. Numbers are valid by rules written here, not by the libraries that the
filters use: check digits are computed from their definitions.
"""

import base64
import json
import string
from collections.abc import Callable
from random import Random

ALNUM = string.ascii_letters + string.digits
EN = (
    "You can reach us at {} until Friday.",
    "Please note: {} was entered in the form.",
    "Her details are as follows.\n{}\nThank you for your help.",
    "I copied {} from the letter.",
    'The record says "{}" and nothing else.',
    "Rewrite this: my colleague wrote ({}) on the board.",
)
ZH = (
    "请联系{}，谢谢。",
    "他在表格里填写了{}。",
    "资料如下：\n{}\n请核对。",
    "这封信里写着“{}”，别的什么也没有。",
    "我把{}记在本子上了。",
    "记录（{}）已经保存。",
)


def digits(rng: Random, n: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(n))


def drawn(rng: Random, n: int, alphabet: str = ALNUM) -> str:
    """Random signs, a digit, a capital and a small letter among them."""
    while True:
        found = "".join(rng.choice(alphabet) for _ in range(n))
        has_small = any(map(str.islower, found)) or alphabet.isupper()
        if sum(map(str.isdigit, found)) >= 2 and any(map(str.isalpha, found)) and has_small:
            return found


def with_luhn(body: str) -> str:
    total = 0
    for at, sign in enumerate(reversed(body)):
        doubled = int(sign) * (2 if at % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def email(rng: Random) -> str:
    first = rng.choice(
        ["anna", "li.wei", "m_kowalski", "zhang1987", "tom+news", "p-dubois", "info"]
    )
    domain = rng.choice(
        ["gmail.com", "163.com", "qq.com", "uni-bonn.de", "mail.corp.co.uk", "acme.io"]
    )
    return f"{first}{rng.choice(['', digits(rng, 2)])}@{domain}"


def phone(rng: Random) -> str:
    area, exchange, line = rng.choice(["212", "415", "312", "617"]), "", digits(rng, 4)
    exchange = rng.choice("2346789") + rng.choice("03456789") + rng.choice("0234678")
    mobile = "1" + rng.choice(["38", "39", "50", "86", "77", "59"])
    return rng.choice(
        [
            f"({area}) {exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"+1 {area} {exchange} {line}",
            f"+1-{area}-{exchange}-{line}",
            f"{mobile}{digits(rng, 8)}",
            f"{mobile} {digits(rng, 4)} {digits(rng, 4)}",
            f"{mobile}-{digits(rng, 4)}-{digits(rng, 4)}",
            f"+86 {mobile} {digits(rng, 4)} {digits(rng, 4)}",
            f"+44 20 7{rng.choice('1234')}{digits(rng, 2)} {digits(rng, 4)}",
            f"+49 30 {rng.choice('2345')}{digits(rng, 7)}",
            f"+33 6 1{rng.choice('2345')} {digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
            f"010-{rng.choice('68')}{digits(rng, 7)}",
            f"(021) {rng.choice('56')}{digits(rng, 7)}",
            f"phone: 020 7{rng.choice('1234')}{digits(rng, 2)} {digits(rng, 4)}",
            f"电话：0755-{rng.choice('28')}{digits(rng, 7)}",
        ]
    )


def iban(rng: Random) -> str:
    country, body = rng.choice(
        [
            ("DE", digits(rng, 18)),
            ("NL", rng.choice(["ABNA", "INGB"]) + digits(rng, 10)),
            ("GB", "NWBK" + digits(rng, 14)),
            ("AT", digits(rng, 16)),
            ("CH", digits(rng, 17)),
            ("PL", digits(rng, 24)),
        ]
    )
    if country == "PL":  # its banks are numbered with a check digit of their own
        bank = digits(rng, 7)
        weighed = sum(
            int(one) * weight for one, weight in zip(bank, (3, 9, 7, 1, 3, 9, 7), strict=True)
        )
        body = bank + str(-weighed % 10) + body[8:]
    number = int("".join(str(int(sign, 36)) for sign in f"{body}{country}00"))
    found = f"{country}{98 - number % 97:02d}{body}"
    if rng.random() < 0.5:
        return found
    return " ".join(found[at : at + 4] for at in range(0, len(found), 4))


def card(rng: Random) -> str:
    begins, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("6011", 16),
            ("34", 15),
            ("37", 15),
            ("62", 16),
            ("62", 19),
        ]
    )
    found = with_luhn(begins + digits(rng, length - len(begins) - 1))
    style = rng.choice(["", " ", "-"])
    if length == 15:
        return style.join([found[:4], found[4:10], found[10:]])
    return style.join([found[at : at + 4] for at in range(0, length, 4)])


def national_id(rng: Random) -> str:
    kind = rng.choice(["us", "cn", "cn", "br", "kr", "us-said"])
    if kind == "us":
        return f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"
    if kind == "us-said":
        return f"SSN {rng.randint(100, 665)}{rng.randint(10, 99)}{rng.randint(1000, 9999)}"
    if kind == "cn":
        place = rng.choice(["110105", "310104", "440305", "330106", "510107"])
        born = f"{rng.randint(1950, 2005)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
        body = place + born + digits(rng, 3)
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        at = sum(int(one) * weight for one, weight in zip(body, weights, strict=True)) % 11
        return body + "10X98765432"[at]
    if kind == "br":
        body = digits(rng, 9)
        for n in (10, 11):
            rest = sum(int(one) * (n - at) for at, one in enumerate(body)) % 11
            body += "0" if rest < 2 else str(11 - rest)
        return f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"
    while True:
        born = f"{rng.randint(50, 99)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
        body = born + rng.choice("12") + f"{rng.randint(0, 90):02d}" + digits(rng, 3)
        weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
        check = (11 - sum(int(a) * b for a, b in zip(body, weights, strict=True)) % 11) % 10
        return f"{body[:6]}-{body[6:]}{check}"


def ip_address(rng: Random) -> str:
    if rng.random() < 0.2:
        groups = ":".join(f"{rng.randint(1, 0xFFFF):x}" for _ in range(4))
        return f"2a01:4f8:{rng.randint(1, 0xFFFF):x}:{groups}:1"[:39]
    first = rng.choice([23, 45, 52, 81, 91, 103, 139, 185, 213])
    return ".".join(
        map(str, (first, rng.randint(20, 255), rng.randint(0, 255), rng.randint(1, 254)))
    )


def api_key(rng: Random) -> str:
    return rng.choice(
        [
            f"AKIA{drawn(rng, 16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}",
            f"ghp_{drawn(rng, 36)}",
            f"github_pat_{drawn(rng, 22)}_{drawn(rng, 59)}",
            f"glpat-{drawn(rng, 20)}",
            f"xoxb-{digits(rng, 12)}-{digits(rng, 12)}-{drawn(rng, 24)}",
            f"sk_live_{drawn(rng, 24)}",
            f"sk-proj-{drawn(rng, 48)}",
            f"sk-{drawn(rng, 48)}",
            f"sk-ant-api03-{drawn(rng, 80)}",
            f"hf_{drawn(rng, 34)}",
            f"AIza{drawn(rng, 35)}",
            f"SG.{drawn(rng, 22)}.{drawn(rng, 43)}",
            f"npm_{drawn(rng, 36)}",
            f"LTAI{drawn(rng, 20)}",
            f"{rng.randint(10**9, 10**10 - 1)}:AA{drawn(rng, 33)}",
        ]
    )


def packed(tree: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).decode().rstrip("=")


def jwt(rng: Random) -> str:
    header = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    claims = {"sub": digits(rng, 7), "iat": rng.randint(10**9, 2 * 10**9)}
    return f"{packed(header)}.{packed(claims)}.{drawn(rng, 43)}"


def private_key(rng: Random) -> str:
    kind = rng.choice(["RSA ", "EC ", "OPENSSH ", ""])
    lines = [drawn(rng, 64) for _ in range(rng.randint(3, 20))]
    end = [f"-----END {kind}PRIVATE KEY-----"] if rng.random() < 0.8 else []
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, *end])


def secret(rng: Random) -> str:
    value = drawn(rng, rng.randint(14, 40), ALNUM + "!@#%^&*-_+")
    return rng.choice(
        [
            f"password: {value}",
            f'DB_PASSWORD="{value}"',
            f"密码：{value}",
            f"密码是 {value}",
            f"client_secret={drawn(rng, 32)}",
            f"'api_key': '{drawn(rng, 32)}'",
            f"access_token = {drawn(rng, 40)}",
            f"auth_token: {drawn(rng, 40, 'abcdef0123456789')}",
            f"postgres://app:{drawn(rng, 16)}@db.corp.net:5432/main",
        ]
    )


PLANTED: dict[str, Callable[[Random], str]] = {
    "email": email,
    "phone": phone,
    "iban": iban,
    "card": card,
    "national_id": national_id,
    "ip_address": ip_address,
    "api_key": api_key,
    "jwt": jwt,
    "private_key": private_key,
    "secret": secret,
}


def other_end(body: str) -> str:
    return body[:-1] + str((int(body[-1]) + 1) % 10)


LOOKALIKES: dict[str, Callable[[Random], str]] = {
    "order number": lambda r: f"order number {digits(r, r.choice([9, 10, 11, 12, 16]))}",
    "order in Chinese": lambda r: f"订单号：{digits(r, r.choice([11, 16, 18]))}",
    "ISBN": lambda r: f"ISBN 978-{digits(r, 1)}-{digits(r, 2)}-{digits(r, 6)}-{digits(r, 1)}",
    "timestamp": lambda r: f"timestamp {r.randint(10**9, 2 * 10**9)}{r.choice(['', '123'])}",
    "date": lambda r: (
        f"20{digits(r, 2)}-0{r.randint(1, 9)}-1{digits(r, 1)} 12:30:45.{digits(r, 6)}"
    ),
    "version": lambda r: (
        f"version {r.randint(1, 99)}.{r.randint(0, 99)}.{r.randint(0, 99)}.{r.randint(0, 255)}"
    ),
    "small version": lambda r: (
        f"{r.randint(1, 9)}.{r.randint(0, 9)}.{r.randint(0, 9)}.{r.randint(0, 9)}"
    ),
    "MD5": lambda r: drawn(r, 32, "0123456789abcdef"),
    "SHA-256": lambda r: f"sha256:{drawn(r, 64, '0123456789abcdef')}",
    "UUID": lambda r: "-".join(drawn(r, n, "0123456789abcdef") for n in (8, 4, 4, 4, 12)),
    "sum": lambda r: (
        f"{digits(r, 3)}-{digits(r, 3)} = {digits(r, 4)}, {digits(r, 4)} * {digits(r, 4)}"
    ),
    "equation": lambda r: f"x = {r.randint(100, 999)} + {digits(r, 4)}.{digits(r, 8)}",
    "price": lambda r: f"${r.randint(1, 999)},{digits(r, 3)},{digits(r, 3)}.{digits(r, 2)}",
    "Chinese price": lambda r: f"{digits(r, 8)}元",
    "code": lambda r: f"def f(password=None): return config.get('api_key_{digits(r, 2)}')",
    "environment": lambda r: "token = os.environ['SERVICE_TOKEN']",
    "placeholder": lambda r: r.choice(
        ["API_KEY=your_api_key_here_123456", "sk-xxxxxxxxxxxxxxxxxxxxxxxx"]
    ),
    "short password": lambda r: (
        f"password: {r.choice(['hunter2', 'letmein', 'admin123', 'swordfish'])}"
    ),
    "wrong card": lambda r: other_end(with_luhn("4" + digits(r, 14))),
    "test card": lambda r: r.choice(["4111 1111 1111 1111", "4242424242424242", "378282246310005"]),
    "example mail": lambda r: (
        f"user{digits(r, 2)}@{r.choice(['example.com', 'mail.example.org', 'a.test'])}"
    ),
    "no mail": lambda r: r.choice(
        ["icon@2x.png", "npm i left@1.2.3", "@user", "a @ b", "git@github.com:a/b"]
    ),
    "555 number": lambda r: f"(212) 555-01{digits(r, 2)}",
    "placeholder number": lambda r: r.choice(["123-456-7890", "000-000-0000", "(123) 456-7890"]),
    "drama number": lambda r: f"+44 20 7946 0{digits(r, 3)}",
    "private IP": lambda r: r.choice(
        ["127.0.0.1", "0.0.0.0", "192.168.1.20", "10.0.0.7", "192.0.2.44"]
    ),
    "documentation IPv6": lambda r: f"2001:db8::{digits(r, 2)}",
    "C++": lambda r: f"std::vector<int>::iterator a{digits(r, 1)}",
    "pi": lambda r: "3.14159265358979323846264338327950288",
    "range": lambda r: f"pages {r.randint(100, 400)}-{r.randint(401, 999)}",
    "part number": lambda r: f"part no. {digits(r, 3)}-{digits(r, 2)}-{digits(r, 4)}",
    "wrong resident id": lambda r: f"11010519491301{digits(r, 4)}",
    "wrong SSN": lambda r: f"000-{digits(r, 2)}-{digits(r, 4)}",
    "coordinates": lambda r: (
        f"{r.randint(10, 80)}.{digits(r, 6)}, -{r.randint(10, 99)}.{digits(r, 6)}"
    ),
    "list of numbers": lambda r: ", ".join(digits(r, 4) for _ in range(5)),
    "row of numbers": lambda r: " ".join(digits(r, 3) for _ in range(6)),
    "style": lambda r: "sk-circle-fade-dot-animation-delay",
    "not a key": lambda r: f"key-value pairs and token_type: bearer {digits(r, 3)}",
}


def carried(rng: Random, what: str) -> str:
    return rng.choice(EN if rng.random() < 0.5 else ZH).format(what)


def labelled(seed: int, each: int) -> list[tuple[str, str, str]]:
    """(kind, text, what was planted): `each` of every kind, and "" for what only looks so."""
    rng = Random(seed)
    rows = []
    for kind, make in PLANTED.items():
        for _ in range(each):
            what = make(rng)
            rows.append((kind, carried(rng, what), what))
    for make in LOOKALIKES.values():
        for _ in range(max(each // 5, 1)):
            what = make(rng)
            rows.append(("", carried(rng, what), what))
    rng.shuffle(rows)
    return rows
