"""Which texts, or which lines of them, are program code, by how they look."""

from __future__ import annotations

import re

LONGEST = 500  # characters of a line of code
FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})", re.MULTILINE)
FENCED = re.compile(r"^[ \t>]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t>]*\1|\Z)", re.MULTILINE | re.DOTALL)
LINE = re.compile(
    r"""^[ \t]*(?:
      (?:def|class|async|struct|enum|interface|func|fn)\s+\w+\s*[({:<]
    | (?:import|from|using|package|namespace|require|include)\s+[\w.*"'{<@/]+
      (?:\s+(?:import|as)\b.*|;)?\s*$
    | (?:public|private|protected|static|final|abstract|override|export|extern)\s+\w
    | (?:var|let|const|val|int|float|double|char|bool|boolean|string|String|void|long|auto|unsigned)
      \s+[\w<>\[\]*&:]+\s*[=;({\[]
    | (?:if|elif|for|while|with|except|try|else|switch|catch|foreach)\b.*[:{)]\s*$
    | (?:return|yield|raise|throw|print|echo|printf|assert|del|pass|break|continue)\b
      [^.!?]*[;)\]}"'\w]$
    | (?:SELECT|INSERT\ INTO|UPDATE|DELETE\ FROM|CREATE\ (?:TABLE|VIEW|INDEX|FUNCTION)|ALTER\ TABLE
      |DROP\ TABLE|FROM|WHERE|GROUP\ BY|ORDER\ BY|INNER\ JOIN|LEFT\ JOIN|JOIN|HAVING|VALUES)\b
    | \#(?:include|define|ifdef|ifndef|endif|pragma|!/)
    | //|/\*|\*/|<!--|<!DOCTYPE|</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>
    | [@$]\w+
    | (?:fi|done|esac|else|then|do)\s*;?\s*$
    | .*;\s*(?:then|do)\s*$
    | [}\])]+[;,)]*\s*(?:else.*)?$
    | [\w.\[\]"'$]+\s*(?:[+\-*/|&]?=|:=|=>|\+\+|--)\s*\S.*[\w)\]}"';,{(]\s*$
    | [\w.]+\([^()]*(?:\([^()]*\)[^()]*)*\)\s*[;{]?\s*$
    | ["']?[\w.-]+["']?\s*:\s*(?:["'\d\[{].*[,\[{"'\]}]|\d+)\s*$
    | .*[;{]\s*$
    )""",
    re.VERBOSE,
)


def without_fenced(text: str) -> str:
    """The text without its fenced blocks of code, an open one at its end included."""
    return FENCED.sub("", text) if "```" in text or "~~~" in text else text


def is_code(text: str) -> bool:
    """Whether at least half of the lines outside fences look like code.

    >>> is_code("for n in numbers: total += n;"), is_code("First, count the numbers.")
    (True, False)
    """
    lines = [line for line in text.splitlines() if line.strip()]
    code = sum(len(line) <= LONGEST and LINE.match(line) is not None for line in lines)
    return 0 < len(lines) <= 2 * code
