"""The page in a real browser: it loads nothing, runs nothing of the data, and can be used."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.report import facts, figures, roots
from pipeline.report import page as report
from tests.report.payloads import PAYLOADS
from tests.report.runs import WITH_ROWS, hostile_everywhere, made_run, run_names

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("plotly", reason="the extra 'report' is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WALK = """(n) => [...Array(n)].map(() => {
    const pressed = new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true });
    document.querySelector("#list").dispatchEvent(pressed);
    return document.querySelector("#detail h3").textContent;
})"""
"""Go from row to row; each is opened."""
CHOOSE = """(id) => {
    const select = document.getElementById(id);
    const values = [...select.options].map((option) => option.value);
    for (const value of [...values, ""]) {
        select.value = value;
        select.dispatchEvent(new Event("input", { bubbles: true }));
    }
    return values;
}"""
"""Choose every option of a filter, and none again."""
HOVER = """() => {
    for (const place of document.querySelectorAll("[data-figure]")) {
        place.data.forEach((_, curve) => {
            if (!place._fullLayout._has("cartesian")) return;
            Plotly.Fx.hover(place, [{ curveNumber: curve, pointNumber: 0 }]);
        });
    }
}"""
"""Show what is said of a bar of each kind."""
HARMFUL = """() => [...document.querySelectorAll("*")].filter((one) =>
    one.matches("iframe, object, embed, img, video, base, math, details, :not(body) > script")
    || [...one.attributes].some((its) => its.name.startsWith("on"))
    || one.tagName === "A" && !/^#[a-z]+$/.test(one.getAttribute("href"))
).map((one) => one.outerHTML)"""
"""Elements that no page of ours has."""


@dataclass
class Heard:
    """A page, and all that it said, asked for and opened."""

    page: Any
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


ROWS = [
    {"row_id": f"a-{n}", "instruction": f"Write a poem of {n} lines.", "rating": n % 7,
     "agreement": n / 40, "verdict": "good", "root_id": "a-0"} for n in range(40)
]  # fmt: skip
CHILD = {
    "row_id": "b-1", "instruction": "Write a poem of nine lines about rain.", "parent_id": "a-9",
    "root_id": "a-0", "nearest_id": "a-8", "shown": ["a-7", "old-1"],
    "reasoning": "First the clouds.", "reference": "Rain.",
    "messages": [{"role": "user", "content": f"turn number {n}" * 500} for n in range(40)],
    "evaluations": [{"model": "base", "answer": "It rains.", "tokens": 2}],
    "requests": [{"stage": "evolve", "key": "c0ffee5eed", "template": "t", "model": "m"}],
}  # fmt: skip
GONE = {
    "row_id": "c-1", "instruction": "Write a poem of 9 lines.", "drop_reason": "alike",
    "drop_detail": "0.91", "drop_ref": "a-9", "drop_similarity": 0.91, "agreement": 0.99,
}  # fmt: skip


def hostile_roots(instructions: Iterable[str]) -> tuple[Counter[roots.Root], int]:
    """Roots and objects as no parser gives them."""
    is_first = len(list(instructions)) > 1
    return Counter({(one, one): 2 for one in PAYLOADS if is_first}), 0


@pytest.fixture(scope="module")
def files(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages; they are made before the browser starts, which keeps an event loop running."""
    folder = tmp_path_factory.mktemp("pages")
    old = {"row_id": "old-1", "instruction": "An instruction that became another."}
    stages = {"import": ([*ROWS, old], []), "evolve": ([*ROWS, CHILD], [GONE])}
    lineage = open_run(made_run(folder / "lineage", stages, status="stopped", complete=1))
    with pytest.MonkeyPatch.context() as patch:  # so that all values are drawn, and to their end
        patch.setattr(roots, "count", hostile_roots)
        for module, names in {
            facts: ("MOST_LABELS", "MOST_OPENINGS", "MOST_VERBS"),
            figures: ("MOST_REASONS", "MOST_VALUES", "LONGEST_LABEL"),
        }.items():
            for name in names:
                patch.setattr(module, name, 1000)  # fmt: skip
        hostile = report.render([open_run(run) for run in hostile_everywhere(folder / "hostile")])
    bare, n = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", hostile)
    assert n == 1
    pages = {
        "small": report.render([open_run(small_run)]),
        "lineage": report.render([lineage]),
        "hostile": hostile,
        "hostile, without a policy": bare,
    }
    paths = {name: folder / f"{name}.html" for name in pages}
    for name, text in pages.items():
        paths[name].write_text(text)
    return paths


@pytest.fixture(scope="module")
def browser(files: dict[str, Path]) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Any, path: Path) -> Heard:
    """Open a file, and wait until its charts are drawn."""
    heard = Heard(browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme="light"))
    heard.page.on("console", lambda said: heard.console.append(f"{said.type}: {said.text}"))
    heard.page.on("pageerror", lambda error: heard.errors.append(str(error)))
    heard.page.on("request", lambda request: heard.requests.append(request.url))
    heard.page.on("dialog", lambda shown: (heard.dialogs.append(shown.message), shown.dismiss()))
    heard.page.goto(path.as_uri())
    heard.page.wait_for_selector("html[data-ready=rows]", timeout=60_000)
    not_drawn = "[data-figure]:not(:has(.main-svg))"
    heard.page.wait_for_selector(not_drawn, state="detached", timeout=60_000)
    return heard


def said_nothing(heard: Heard, path: Path) -> bool:
    """Whether a page was as quiet as it has to be."""
    assert (heard.console, heard.errors, heard.dialogs) == ([], [], [])
    assert heard.requests == [path.as_uri()]
    return True


@pytest.fixture(scope="module")
def small(browser: Any, files: dict[str, Path]) -> Heard:
    return opened(browser, files["small"])


@pytest.fixture(scope="module")
def lineage(browser: Any, files: dict[str, Path]) -> Heard:
    return opened(browser, files["lineage"])


def texts(heard: Heard, selector: str) -> list[str]:
    return list(heard.page.locator(selector).all_inner_texts())


def count(heard: Heard) -> int:
    """How many rows the page says that it shows."""
    found = re.match(r"([0-9,]+) of", heard.page.inner_text("#count"))
    assert found is not None
    return int(found[1].replace(",", ""))


def test_a_run_can_be_looked_through(small: Heard, small_run: Path, files: dict[str, Path]) -> None:
    run = open_run(small_run)
    kept, dropped = run.kept("dedup"), run.dropped("bootstrap")
    heard, page = small, small.page
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
    for column in ("row_id", "instruction", "output", "parent_id"):
        assert row[column] in detail
    page.fill("#search", "no row says this")
    assert count(heard) == 0
    assert page.locator(".state").count() == 0
    assert said_nothing(heard, files["small"])


def test_light_dark_narrow_and_printed(small: Heard, tmp_path: Path) -> None:
    page = small.page
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert page.evaluate(paper) == "rgb(21, 23, 27)"
    page.click("#theme")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(400)  # charts follow the window
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    assert small.console + small.errors == []


def look_up(heard: Heard, row_id: str) -> str:
    """Search for a row by its id, and open it; gives its title."""
    heard.page.fill("#search", row_id)
    heard.page.locator("#window .row", has_text=row_id).first.click()
    return str(heard.page.inner_text("#detail h3"))


def links(heard: Heard) -> dict[str, list[str]]:
    """The ids that are links in the opened row, by what they are to it."""
    said = """(list) => [list.previousElementSibling.textContent,
        [...list.querySelectorAll("button")].map((one) => one.textContent)]"""
    return dict(one.evaluate(said) for one in heard.page.locator("#detail .lineage").all())


def test_every_row_of_the_file_that_another_names_is_a_link_to_it(
    lineage: Heard, files: dict[str, Path]
) -> None:
    assert look_up(lineage, "b-1") == "b-1"
    assert links(lineage) == {
        "made from": ["a-9"], "goes back to": ["a-0"], "most similar": ["a-8"],
        "shown to the teacher": ["a-7"],
    }  # fmt: skip
    assert "old-1 An instruction that became another." in lineage.page.inner_text("#detail")
    for title in ("a-9", "a-0", "a-8", "a-7"):
        look_up(lineage, "b-1")
        lineage.page.click(f"#detail button.link:text-is('{title}')")
        assert lineage.page.inner_text("#detail h3") == title
    look_up(lineage, "c-1")
    assert links(lineage) == {"it met": ["a-9"]}
    lineage.page.click("#detail button.link")
    assert lineage.page.inner_text("#detail h3") == "a-9"
    there = links(lineage)
    assert (there["made into"], there["dropped for being like it"]) == (["b-1"], ["c-1"])
    lineage.page.click("#detail button.link:text-is('c-1')")
    assert lineage.page.inner_text("#detail h3") == "c-1"
    assert said_nothing(lineage, files["lineage"])


def test_all_that_is_shown_is_found_and_what_is_cut_is_said(lineage: Heard) -> None:
    for said in ("first the clouds", "turn number 2", "it rains", "rain.", "C0FFEE5EED"):
        lineage.page.fill("#search", said)
        assert "b-1" in texts(lineage, "#window .row small:last-child"), said
    lineage.page.fill("#search", "turn number 39")
    assert count(lineage) == 0
    look_up(lineage, "b-1")
    detail = lineage.page.inner_text("#detail")
    assert re.search(r"2[0-9]{2},\d{3} more characters, with 3\d more entries, of messages", detail)
    assert "model: base; answer: It rains.; tokens: 2" in detail
    assert "reference: Rain." in detail
    assert "Texts are cut after 4,000 characters" in lineage.page.inner_text("#browser")


def test_any_column_of_numbers_sorts(lineage: Heard) -> None:
    page = lineage.page
    page.fill("#search", "")
    options = page.locator("#sort option").all_inner_texts()
    assert options == ["place", "agreement", "rating", "drop_similarity", "instruction length",
                       "output length"]  # fmt: skip
    page.select_option("#sort", "agreement")
    page.check("#descending")
    assert texts(lineage, "#window .row small:last-child")[:2] == ["agreement 0.99",
                                                                   "agreement 0.975"]  # fmt: skip
    page.select_option("#sort", "")


def test_a_run_that_is_not_finished_is_said_to_be_so(lineage: Heard) -> None:
    said = lineage.page.inner_text(".state")
    assert "This run is stopped" in said
    assert "Not complete: evolve (open)." in said
    assert "Kept rows are those that evolve kept when this page was made" in said


@pytest.mark.parametrize("name", ["hostile", "hostile, without a policy"])
def test_nothing_in_the_data_runs(browser: Any, files: dict[str, Path], name: str) -> None:
    heard = opened(browser, files[name])
    page = heard.page
    assert count(heard) == 3 * 150 + WITH_ROWS - 1
    assert all(one in page.text_content("h1") for one in run_names())
    drawn = [one.text_content() for one in page.locator("[data-figure]").all()]
    assert_all_in("".join(drawn))
    head, tables = page.text_content(".run"), page.text_content("main")
    assert_all_in(head)
    assert_all_in(tables)
    assert set(PAYLOADS) <= set(page.evaluate(CHOOSE, "sort"))
    assert set(PAYLOADS) == set(page.evaluate(CHOOSE, "reason")) - {""}
    assert set(run_names()) == set(page.evaluate(CHOOSE, "run")) - {""}
    assert (
        len(set(page.evaluate(WALK, 151))) == 151
    )  # what was dropped, and a row with every column
    page.evaluate(HOVER)
    page.click("#theme")
    page.wait_for_timeout(200)
    assert page.evaluate(HARMFUL) == []
    assert page.evaluate("window.hit") is None
    assert said_nothing(heard, files[name])


def assert_all_in(text: str) -> None:
    """That every payload stands in a text, as text; a chart has spaces as it likes."""
    there = "".join(text.split())
    assert [one for one in PAYLOADS if "".join(one.split()) not in there] == []


def test_the_payloads_do_harm_where_a_page_takes_them_for_html(browser: Any) -> None:
    page = browser.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda shown: (dialogs.append(shown.message), shown.dismiss()))
    page.route("**/*", lambda route: route.abort())
    page.set_content("<p>" + "<p>".join(harmless_last(PAYLOADS)), wait_until="commit")
    page.wait_for_timeout(500)
    assert dialogs
    assert page.evaluate("window.hit") == 1
    assert page.evaluate(HARMFUL)


def harmless_last(payloads: Sequence[str]) -> list[str]:
    """Those that end what stands after them at the end."""
    return sorted(payloads, key=lambda one: "http-equiv" in one or "<iframe" in one)
