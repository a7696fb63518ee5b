r"""The final answer of a text, and when two final answers are the same.

Sampled chains of thought are compared by what they come to (Wang et al. 2023, "Self-Consistency",
arXiv:2203.11171). A text comes to what stands in its last \boxed{}, after its last "####" (GSM8K),
or after the last words that announce an answer, in English or Chinese; a text of one short line is
an answer as it is. Anything longer that announces nothing has none: we guess no last number. Real
endings:

    5 x 3 = 15, so the answer is 15 euros.
    **Answer:** (B) Oslo
    所以小明一共买了35个苹果。答案：35
    故选B。
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

LONGEST = 12  # words, or Han characters, of a line that is an answer as it is
LONGEST_UNIT = 3  # words after a number

HASHES = re.compile(r"^\s*####\s*(?P<said>\S.*)$", re.MULTILINE)
ANNOUNCED = re.compile(
    r"""(?: \b(?:final\ |correct\ |right\ |best\ )? (?:answer|option|choice|result)
            (?: \s*[:=] | \s+(?:is|was|would\ be|must\ be)\b \s*:? )
          | (?:最终|最后|正确)? (?:答案|结果|答) \s* (?:应该|应)? (?:是|为|[:=]|选)+
          | (?:故|应|应该|所以|因此|正确的?)? 选 (?:择|项|的是|[:])* (?=\s*[(]?[A-H](?![A-Za-z])) )
        \s*(?P<said>\S[^\n]*)""",
    re.VERBOSE | re.IGNORECASE,
)
SENTENCE_END = re.compile(r"(?<=[^\s.])[.](?=\s+[A-Z(])|[。；;](?=.)|[.]$|。$|!$")
CHOICE = re.compile(r"[(\[]?(?P<letter>[A-H])(?:[)\].:,、]|\s*$)(?P<rest>.*)", re.DOTALL)
NAMED_CHOICE = re.compile(r"(?:option|choice|选项|选)\s*[(]?(?P<letter>[A-H])[)]?$", re.IGNORECASE)
NUMBER = re.compile(
    r"""(?:[a-z]\s*=\s*|about\s+|约)? (?P<sign>[-−+]?)\s* (?:[$€£¥]|usd|eur)?\s*
        (?P<digits>\d{1,3}(?:[,，]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
        (?:\s*/\s*(?P<below>\d+))? \s*(?P<percent>%|percent|个百分点)?
        (?P<unit>[^\d=+*/<>:]*)""",
    re.VERBOSE | re.IGNORECASE,
)
CHINESE_NUMBER = re.compile(r"(?P<digits>[零〇一二两三四五六七八九十百千万]+)(?P<unit>\D*)")
CHINESE_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
}
CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[()\[\],;!]|\\(?:left|right|quad)\b"), " "),
)
WORD = re.compile(r"\w+", re.UNICODE)
ARTICLES = frozenset({"a", "an", "the"})


def final_answer(text: str) -> str | None:
    r"""What a text comes to, as it is written there; null where it does not say.

    >>> final_answer("Half of 30 is 15.\nThe answer is 15 euros. I hope this helps.")
    '15 euros'
    >>> final_answer("故选B。")
    'B'
    >>> final_answer("Paris"), final_answer("Pack a coat.\nPack a book.")
    ('Paris', None)
    """
    text = unicodedata.normalize("NFKC", text).replace("**", "").replace("__", "").strip()
    if boxed := _last_boxed(text):
        return boxed
    if hashes := HASHES.findall(text):
        return _tidy(hashes[-1])
    announced = [found["said"] for found in ANNOUNCED.finditer(text)]
    if announced:
        said = SENTENCE_END.split(announced[-1], maxsplit=1)[0]
        return _tidy(said)
    if "\n" in text or not 0 < _size(text) <= LONGEST:
        return None
    return _tidy(text)


def answer_key(answer: str) -> str:
    """A text that is equal for answers that say the same.

    Numbers are compared by value, whatever their unit (samples answer one question, which has one):
    "1,200 m" is "1200". A choice is its letter: "(B) Oslo" is "B". Other texts are compared by
    their words, without case, marks and articles.

    >>> answer_key("$1,200.50"), answer_key("三十五个"), answer_key("(b)"), answer_key("(B) Oslo")
    ('number 2401/2', 'number 35', 'text b', 'choice B')
    """
    text = unicodedata.normalize("NFKC", answer)
    for pattern, plain in LATEX:
        text = pattern.sub(plain, text)
    text = text.strip().strip("$").strip()
    if choice := CHOICE.fullmatch(text) or NAMED_CHOICE.fullmatch(text):
        return f"choice {choice['letter'].upper()}"
    if (number := _number(text)) is not None:
        return f"number {number}"
    words = [word for word in WORD.findall(text.casefold()) if word not in ARTICLES]
    return f"text {' '.join(words)}" if words else f"text {text}"


def is_same_answer(answer: str, other: str) -> bool:
    """Whether two final answers say the same; a choice also by the text that stands beside it.

    >>> is_same_answer("15 euros", "15"), is_same_answer("(B) Oslo", "Oslo")
    (True, True)
    """
    if answer_key(answer) == answer_key(other):
        return True
    rests = [found["rest"] if (found := CHOICE.fullmatch(one)) else one for one in (answer, other)]
    return all(rest.strip() for rest in rests) and answer_key(rests[0]) == answer_key(rests[1])


def _last_boxed(text: str) -> str | None:
    """What stands in the last box, braces balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for end in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return _tidy(text[begin + 1 : end])
    return None


def _size(text: str) -> int:
    """Words, where each Han character is one."""
    return len(re.findall(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+", text))


def _tidy(said: str) -> str | None:
    said = said.strip().strip("\"'`*:“”").rstrip(".。!").strip()
    return said or None


def _number(text: str) -> Fraction | None:
    text = text.rstrip(".。 ")
    if found := NUMBER.fullmatch(text):
        if len(found["unit"].split()) > LONGEST_UNIT or _size(found["unit"]) > 2 * LONGEST_UNIT:
            return None
        value = Fraction(re.sub("[,，]", "", found["digits"]))
        if found["below"]:
            if int(found["below"]) == 0:
                return None
            value /= int(found["below"])
        return -value if found["sign"] in ("-", "−") and found["sign"] else value
    if (found := CHINESE_NUMBER.fullmatch(text)) and len(found["unit"]) <= LONGEST_UNIT:
        return _chinese(found["digits"])
    return None


def _chinese(signs: str) -> Fraction | None:
    """The value of a number written in Han characters, below a hundred million."""
    if "万" in signs:
        above, _, below = signs.partition("万")
        high, low = _chinese(above), _chinese(below) if below else Fraction(0)
        return None if high is None or low is None else high * 10_000 + low
    total, digit = 0, None
    for sign in signs:
        if sign in CHINESE_UNITS:
            total += CHINESE_UNITS[sign] * (1 if digit is None else digit)
            digit = None
        elif digit in (None, 0):
            digit = CHINESE_DIGITS[sign]
        else:
            return None  # two digits in a row: a year, a telephone number
    return Fraction(total + (digit or 0)) if signs else None
