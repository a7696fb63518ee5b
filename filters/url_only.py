"""Answers that are nothing but links or images, which a model that writes text can only make up."""

from __future__ import annotations

import re

import polars as pl

from filters.verdict import verdict

IMAGE = r"""!\[[^\]\n]*\](?:\([^)\n]*\)|\[[^\]\n]*\])|<img\b[^<>]*>|\[img\][^\[\]]*\[/img\]"""
LINK = (
    r"\[[^\[\]\n]*\]\((?:https?|ftp)://[^)\s]*\)"
    r"""|<?(?:(?:https?|ftp)://|www\.)[^\s<>"'，。、；）】》”]+>?"""
)
IMAGE_FILE = r"(?i)\.(?:png|jpe?g|gif|webp|svg|bmp)(?:[?#)][^\s]*)?[)>\s.]*$"
NUMBER = r"(?m)^\s*\(?\d{1,3}[.)、]"
WORDS = r"[\p{L}\p{N}]"


HOST = re.compile(r"(?://|\bwww\.)(?:www\.)?([\w.-]+)")
ASKS_FOR_LINKS = re.compile(r"\bur[li]s?\b|link|address|网址|链接|地址|域名", re.IGNORECASE)
EXAMPLE = re.compile(r"^(?:.+\.)?example\.\w+$")


def url_only(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.DataFrame:
    """Drop answers in which no letter and no digit is left once links and images are taken out.

    `image_only`: there is an image, in Markdown, HTML or as a link to a picture's file. `url_only`:
    there are links alone. Those to what instruction and input name, or to an example, are kept
    where links are asked for. A null is empty, and an empty answer holds no link. Returns one row
    an entry, in order: `reason` (String, null where the row is kept) and `detail` (String: how the
    answer begins; null where the row is kept).
    """
    text = pl.col("output").fill_null("")
    without = text.str.replace_all(f"(?i){IMAGE}|{LINK}", "").str.replace_all(NUMBER, "")
    has_one = text.str.contains(f"(?i){IMAGE}|{LINK}")
    is_image = text.str.contains(f"(?i){IMAGE}") | text.str.contains(IMAGE_FILE)
    judged = pl.DataFrame({"output": output.cast(pl.String)}).select(
        is_bare=has_one & ~without.str.contains(WORDS), is_image=is_image
    )
    reasons: list[str | None] = [None] * output.len()
    details: list[str | None] = [None] * output.len()
    for at in judged["is_bare"].arg_true().to_list():
        answer, task = output[at], f"{instruction[at] or ''} {input[at] or ''}"
        if judged["is_image"][at] or not _is_asked_for(answer, task):
            reasons[at] = "image_only" if judged["is_image"][at] else "url_only"
            details[at] = answer.strip()[:200]
    return verdict(reasons, details)


def _is_asked_for(answer: str, task: str) -> bool:
    """Whether links are asked for, and all lead to what the task names or to an example."""
    hosts = [host.lower() for host in HOST.findall(answer)]
    return ASKS_FOR_LINKS.search(task) is not None and all(
        host in task.lower() or EXAMPLE.match(host) for host in hosts
    )
