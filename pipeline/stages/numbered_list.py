r"""Numbered lists: how demonstrations are written into a prompt and items read from a reply.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `bootstrap_instructions.py`. The
prompt ends in a bare "9."; one real reply to it, from a base model:

     Suggest a name for a bakery that only opens at night.
    10. Which of these numbers is not prime: 2, 9, 11?
    11. Rewrite the sentence so that it fits in a telegram.

and the same from a chat model:

    <think>The list stops at 8, so I go on.</think>
    Here are three more tasks:

    9. **Naming:** Suggest a name for a bakery that only opens at night.
    10. **Number sense:** Which of these numbers is not prime: 2, 9, 11?
    11. **Rewrite the sentence so that it fits in a telegram.**
"""

from __future__ import annotations

import re

# as published: one whitespace at most before the full stop, one space after it
NEXT_ITEM = re.compile(r"\n(\d+)\s?\. ")
FIRST_ITEM = re.compile(r"\s*(\d+)\s?\.\s+")

THINKING = re.compile(
    r"(?:\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z))+", re.DOTALL | re.IGNORECASE
)
# a server may have taken the opening tag for part of the prompt; in quotation marks it is talked of
ONLY_CLOSED = re.compile(r".*?(?<![`'\"])</think(?:ing)?>(?![`'\"])", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"\s*(`{3,}|~{3,})[^\n`]*\n(.*?)\n?[ \t]*\1\s*", re.DOTALL)

BOLD_START = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*(.*)")
TITLE_ENDS = re.compile(r"\s*[:：]\s*|\s+[-–—]\s+")
LONGEST_TITLE = 6  # words
SHORTEST_ITEM = 3
# Words that instructions begin with: what starts with one of them is more than a title.
ORDER = re.compile(
    r"""(?: add | analy[sz]e | answer | are | arrange | calculate | can | change | check | choose
    | classify | combine | compare | complete | compose | compute | convert | correct | count
    | create | decide | define | describe | detect | determine | develop | devise | differentiate
    | discuss | do | does | draft | edit | estimate | evaluate | explain | extract | fill | find
    | fix | form | generate | give | how | identify | imagine | improve | infer | invent | is
    | label | list | make | match | name | order | organi[sz]e | outline | paraphrase | pick | plan
    | predict | prepare | produce | propose | prove | provide | put | rank | rate | read
    | recommend | remove | reorder | rephrase | replace | respond | restate | reverse | rewrite
    | select | separate | shorten | should | show | simplify | solve | sort | split | state
    | suggest | summari[sz]e | take | tell | transform | translate | turn | use | what | when
    | where | which | who | whose | why | will | write ) \b""",
    re.VERBOSE | re.IGNORECASE,
)


def clean_reply(text: str) -> str:
    r"""Give a reply without a reasoning model's thoughts and without a fence around all of it.

    Thoughts stand at the start, between <think> tags; without the opening tag all up to the closing
    one is thought, without the closing tag nothing else is there. Any other reply comes back as it
    is, outer whitespace included.

    >>> clean_reply("<think>Easy.</think>\n```text\n9. Name a river.\n```")
    '9. Name a river.'
    >>> clean_reply("<think>Where to begin? Perhaps")
    ''
    """
    if thoughts := THINKING.match(text) or ONLY_CLOSED.match(text):
        text = text[thoughts.end() :]
    if (fenced := FENCE.fullmatch(text)) and fenced[1] not in fenced[2]:
        return fenced[2]
    return text


def split_items(text: str, *, first: int | None = None) -> list[str]:
    r"""Split a numbered list into its items, whitespace collapsed; an item may be empty.

    Split, as published, at a newline, digits, at most one whitespace character, a full stop and a
    space, whatever the number; what stands before the first of these is item one. Capitals are
    kept. With `first`, the number that the prompt ended with, we differ for chat models: if the
    reply starts with that number, it is removed; if it comes after some other text, that text
    announces the list and is no item. Bold titles are handled by `without_title`.

    >>> split_items(" Name a river.\n10. Explain\n  tides.\n11. ")
    ['Name a river.', 'Explain tides.', '']
    >>> split_items("Sure, two more:\n9. Name a river.\n10. Explain tides.", first=9)
    ['Name a river.', 'Explain tides.']
    """
    if first is not None:
        start = FIRST_ITEM.match(text) or NEXT_ITEM.search(text)
        if start and int(start[1]) == first:
            text = text[start.end() :]
    items = NEXT_ITEM.split(text)[::2]
    return [without_title(" ".join(item.split())) for item in items]


def without_title(item: str) -> str:
    """Give an item without the bold title that chat models put before it.

    "**Title:** text", "**Title**: text" and "**Title** - text" lose the title if it is one: at most
    six words that do not begin like an order or a question, with a text of at least three words
    after it. Else only the marks go: of "**Translate to French:** Good morning, Paris." a text
    would be left that asks for nothing. Bold inside an item stays.

    >>> without_title("**Naming:** Suggest a name for a bakery.")
    'Suggest a name for a bakery.'
    >>> without_title("**Translate to French:** Good morning, Paris.")
    'Translate to French: Good morning, Paris.'
    """
    bold = BOLD_START.fullmatch(item)
    if not bold:
        return item
    title, rest = bold[1], bold[2]
    after = TITLE_ENDS.match(title[-1] + rest if title[-1] in ":：" else rest)
    plain = title + rest
    if not after:
        return plain
    text = plain[len(title) - (title[-1] in ":：") + after.end() :]
    is_title = len(title.split()) <= LONGEST_TITLE and not ORDER.match(title)
    return text if is_title and len(text.split()) >= SHORTEST_ITEM else plain


def encode_demonstration(instruction: str) -> str:
    r"""Give an instruction as one line of the prompt, to stand after "1. ".

    Whitespace is collapsed and colons at the end go, as published (an ASCII one only, and a space
    before it stays).

    >>> encode_demonstration("Sort the list:\n[3, 1, 2] :")
    'Sort the list: [3, 1, 2] '
    """
    return " ".join(instruction.split()).rstrip(":")
