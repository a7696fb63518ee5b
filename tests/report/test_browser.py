"""The page in a real browser: it loads nothing, runs nothing of the data, and can be used."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.report import page as report
from tests.report.runs import NAME, hostile_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("plotly", reason="the extra 'report' is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WALK = """() => [...Array(150)].map(() => {
    const pressed = new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true });
    document.querySelector("#list").dispatchEvent(pressed);
    return document.querySelector("#detail h3").textContent;
})"""
"""Go from row to row; each is opened."""


@dataclass
class Heard:
    """A page, and all that it said, asked for and opened."""

    page: Any
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def small_file(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.render([open_run(small_run)]))
    return path


@pytest.fixture(scope="module")
def hostile_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.render([open_run(hostile_run(tmp_path_factory.mktemp("hostile")))])


@pytest.fixture(scope="module")
def browser(small_file: Path, hostile_text: str) -> Iterator[Any]:
    """A browser; runs are made before, as its package keeps an event loop running."""
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Any, path: Path, **settings: Any) -> Heard:
    """Open a file, and wait until its charts are drawn."""
    context = browser.new_context(**({"viewport": {"width": 1300, "height": 900}} | settings))
    heard = Heard(context.new_page())
    heard.page.on("console", lambda said: heard.console.append(f"{said.type}: {said.text}"))
    heard.page.on("pageerror", lambda error: heard.errors.append(str(error)))
    heard.page.on("request", lambda request: heard.requests.append(request.url))
    heard.page.on("dialog", lambda shown: (heard.dialogs.append(shown.message), shown.dismiss()))
    heard.page.goto(path.as_uri())
    heard.page.wait_for_selector("html[data-ready=rows]", timeout=60_000)
    n = heard.page.locator("[data-figure]").count()
    heard.page.wait_for_function(
        f"document.querySelectorAll('[data-figure] .main-svg').length >= {n}", timeout=60_000
    )
    return heard


def texts(heard: Heard, selector: str) -> list[str]:
    return list(heard.page.locator(selector).all_inner_texts())


def count(heard: Heard) -> int:
    """How many rows the page says that it shows."""
    found = re.match(r"([0-9,]+) of", heard.page.inner_text("#count"))
    assert found is not None
    return int(found[1].replace(",", ""))


def test_a_run_can_be_looked_through(browser: Any, small_run: Path, small_file: Path) -> None:
    run = open_run(small_run)
    kept, dropped = run.kept("dedup"), run.dropped("bootstrap")
    heard = opened(browser, small_file)
    page = heard.page
    total = count(heard)
    page.select_option("#outcome", "kept")
    assert count(heard) == kept.height
    page.select_option("#outcome", "dropped")
    assert count(heard) == total - kept.height
    page.select_option("#stage", "bootstrap")
    assert count(heard) == dropped.height
    rule = dropped["drop_reason"].mode()[0]
    page.select_option("#reason", rule)
    assert count(heard) == dropped.filter(dropped["drop_reason"] == rule).height
    assert {f"dropped by bootstrap: {rule}"} == set(texts(heard, "#window .dropped"))
    page.select_option("#outcome", "kept")
    page.select_option("#stage", "")
    page.select_option("#reason", "")
    page.select_option("#sort", "nearest_score")
    page.check("#descending")
    first = kept.sort("nearest_score", descending=True, nulls_last=True)["nearest_score"].head(5)
    shown = [float(one.split()[-1]) for one in texts(heard, "#window .row small:last-child")[:5]]
    assert shown == pytest.approx(first.to_list(), rel=1e-4)
    row = kept.filter(kept["parent_id"].is_not_null()).row(0, named=True)
    page.fill("#search", row["row_id"].upper())
    assert count(heard) == 1
    page.click("#window .row")
    detail = page.inner_text("#detail")
    assert row["row_id"] in detail
    assert row["instruction"] in detail
    assert row["output"] in detail
    assert row["parent_id"] in detail
    page.fill("#search", "no row says this")
    assert count(heard) == 0
    assert (heard.console, heard.errors, heard.dialogs) == ([], [], [])
    assert heard.requests == [small_file.as_uri()]


def test_the_lineage_of_a_row_leads_from_one_to_the_next(
    browser: Any, small_run: Path, small_file: Path
) -> None:
    dropped = open_run(small_run).dropped("bootstrap")
    met = dropped.filter(dropped["drop_ref"].is_in(dropped["row_id"].implode()))
    heard = opened(browser, small_file)
    row = (met if met.height else dropped).row(0, named=True)
    heard.page.fill("#search", row["row_id"])
    heard.page.click("#window .row")
    if not met.height:
        assert row["row_id"] in heard.page.inner_text("#detail h3")
        return
    heard.page.click(f"#detail button.link:text-is('{row['drop_ref']}')")
    assert heard.page.inner_text("#detail h3") == row["drop_ref"]


def test_light_dark_narrow_and_printed(browser: Any, small_file: Path, tmp_path: Path) -> None:
    light = opened(browser, small_file, color_scheme="light")
    dark = opened(browser, small_file, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert light.page.evaluate(paper) == "rgb(255, 255, 255)"
    assert dark.page.evaluate(paper) == "rgb(21, 23, 27)"
    light.page.click("#theme")
    assert light.page.evaluate(paper) == "rgb(21, 23, 27)"
    narrow = opened(browser, small_file, viewport={"width": 390, "height": 800})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert narrow.page.evaluate(wide) == 0
    dark.page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    assert [one.console + one.errors for one in (light, dark, narrow)] == [[], [], []]


@pytest.mark.parametrize("has_policy", [True, False])
def test_nothing_in_the_data_runs(
    browser: Any, hostile_text: str, tmp_path: Path, has_policy: bool
) -> None:
    text = hostile_text
    if not has_policy:
        text, n = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        assert n == 1
    path = tmp_path / "report.html"
    path.write_text(text)
    heard = opened(browser, path)
    page = heard.page
    assert page.inner_text("h1") == NAME
    assert count(heard) == 150
    shown = page.evaluate(WALK)
    assert len(set(shown)) == 150
    for option in page.locator("#reason option").all()[:10]:
        page.select_option("#reason", option.get_attribute("value"))
    box = page.locator("[data-figure]").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] - 60)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    assert (
        page.locator(
            "#detail img, #detail script, #window img, main iframe, main a[href^=javascript]"
        ).count()
        == 0
    )
    assert (heard.console, heard.errors, heard.dialogs) == ([], [], [])
    assert heard.requests == [path.as_uri()]
