"""Answers that are links; the labelled cases are in `test_labelled_cases.py`."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.url_only import url_only

LINKS = ["https://a.invalid/b", "www.a.invalid", "[a](https://a.invalid)"]
IMAGES = ["![a](b.png)", "<img src='b'>"]
OTHER = ["word", "词", "7.5"]


def reason(output: str | None, task: str | None = None) -> str | None:
    columns = (pl.Series([text], dtype=pl.String) for text in (task, None, output))
    return url_only(*columns)["reason"][0]  # type: ignore[no-any-return]


@given(st.lists(st.sampled_from([*LINKS, *IMAGES, *OTHER, "-", "..."]), max_size=5))
def test_only_links_and_images_are_dropped(parts: list[str]) -> None:
    is_bare = any(part in LINKS + IMAGES for part in parts) and not any(p in OTHER for p in parts)
    kind = "image_only" if any(part in IMAGES for part in parts) else "url_only"
    assert reason(" ".join(parts)) == (kind if is_bare else None)


HOSTS = ["a.invalid", "b.invalid", "example.org"]


@given(
    st.lists(st.sampled_from([*HOSTS, "link", "Give it."]), max_size=4),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3),
    st.sampled_from(["", "![a](b.png)", "and"]),
)
def test_links_that_are_asked_for_are_those_that_the_slow_version_keeps(
    task: list[str], hosts: list[str], more: str
) -> None:
    answer = "\n".join([*(f"{at}. https://{host}/x" for at, host in enumerate(hosts, 1)), more])
    is_asked = "link" in task and all(host in [*task, "example.org"] for host in hosts)
    wanted = "image_only" if more.startswith("!") else None if is_asked or more else "url_only"
    assert reason(answer, " ".join(task)) == wanted


@pytest.mark.parametrize(
    ("task", "is_kept"),
    [
        ("Give the URL of a.invalid", True),
        ("Give the URL of b.invalid", False),
        ("What about a.invalid?", False),
    ],
)
def test_a_link_that_the_task_names_and_asks_for_is_kept(task: str, is_kept: bool) -> None:
    assert (reason("https://a.invalid/x", task) is None) is is_kept


@pytest.mark.parametrize(
    ("host", "is_kept"),
    [
        ("example.org", True),
        ("www.example.com", True),
        ("b.example.org", True),
        ("a.invalid", False),
    ],
)
def test_a_link_to_an_example_is_kept_where_links_are_asked_for(host: str, is_kept: bool) -> None:
    assert (reason(f"https://{host}/x", "Show how a link looks.") is None) is is_kept
    assert reason(f"https://{host}/x", "Show how it looks.") == "url_only"


def test_nothing_is_no_link() -> None:
    assert reason(None) is None
    assert reason("") is None
