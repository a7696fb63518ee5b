"""In which passes the answers of a row are measured: each given what stands before it, and alone.

A conversation has several answers. Where the prompt of one goes on from the answer before it, as
chat templates mostly write it, one pass measures both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Message = Mapping[str, str]
Pass = tuple[list[int], list[tuple[int, int]]]
"""The ids that a model reads at once, and from where to where their losses count."""
Answers = Sequence[tuple[Sequence[int], Sequence[int]]]
"""The ids of prompts, none of them empty, each with those of its answer."""


def exchanges(turns: Sequence[Message]) -> list[tuple[Sequence[Message], str]]:
    """Each answer with the turns before it; what is said before the first user turn is none."""
    roles = [turn["role"] for turn in turns]
    return [
        (turns[:at], turns[at]["content"])
        for at, role in enumerate(roles)
        if role == "assistant" and "user" in roles[:at]
    ]


def given_passes(answers: Answers) -> list[Pass]:
    """Answers after their prompts: in one pass those whose prompts go on from the one before.

    >>> given_passes([([1, 5], [7]), ([1, 5, 7, 2], [8, 9]), ([1, 4], [7])])
    [([1, 5, 7, 2, 8, 9], [(2, 3), (4, 6)]), ([1, 4, 7], [(2, 3)])]
    """
    found: list[Pass] = []
    for prompt, answer in answers:
        if not found or list(prompt[: len(found[-1][0])]) != found[-1][0]:
            found.append((list(prompt), []))
        spans = [*found[-1][1], (len(prompt), len(prompt) + len(answer))]
        found[-1] = ([*prompt, *answer], spans)
    return found


def alone_passes(answers: Answers) -> list[Pass]:
    """Each answer after nothing but the first token of its prompt."""
    return [([prompt[0], *answer], [(1, 1 + len(answer))]) for prompt, answer in answers]
