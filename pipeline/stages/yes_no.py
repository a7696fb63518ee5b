"""A yes or no from a teacher's reply.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `identify_clf_or_not.py` and
`generate_instances.py`. One real reply, to "is this a classification task?": ` Yes`.
"""

from __future__ import annotations


def is_yes(text: str) -> bool:
    """Say whether a reply is exactly Yes, yes or YES, whitespace around it left out.

    Everything else is a no, as published: "Yes." and "Yes, it is" too, and a reply that never came.

    >>> is_yes(" Yes"), is_yes("Yes.")
    (True, False)
    """
    return text.strip() in {"Yes", "yes", "YES"}
