"""The report in Chromium: its first screen, narrow and wide, its choices, and what its script adds.

Chromium and its driver are found on the path. axe-core is not part of this project: `npm pack axe-core` gets it, and
AXE_CORE names its `axe.min.js`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from support.browser import CHROMIUM, DRIVER, MISSING, Browser, browser
from support.factories import LINK, make_layers, make_profile
from support.paths import ROOT
from support.reports import build, some_records

from codecbench import load
from codecbench.analysis.latency import Scenario
from codecbench.api.plans import plan_of
from codecbench.api.tables import table_of
from codecbench.links.model import FixedRateLink
from codecbench.registry import manager
from codecbench.report.choices import Choosable
from codecbench.results.store import Store

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)

AXE = Path(os.environ.get("AXE_CORE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
WIDE, NARROW = (1280, 800), (380, 700)
PHONE = make_profile("phone", layer_s=0.01, general=4.0)
EDGE = make_profile("gpu-edge", layer_s=0.0001, general=1.0)
SLOW = FixedRateLink("slow", 1e5, description="a slow one")
LAYERS = {"toy": make_layers()}

CUT_OFF = """
document.querySelectorAll("details:not(.menu)").forEach((one) => { one.open = true; });
const cut = [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth);
const over = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
return [...over, ...cut.map((one) => one.querySelector("caption").textContent)];
"""
SHOWN = """
const texts = (selector, within = document) => [...within.querySelectorAll(selector)].map((one) => one.textContent);
return {
  sentence: document.querySelector(".recommended").textContent,
  rows: [...document.querySelectorAll(".headline tbody tr")].map((row) => texts("th, td", row)),
  bars: texts(".bars li"),
  chosen: [...document.querySelectorAll(".chooser select")].map((one) => one.value),
  link: document.querySelector(".chooser a").hash,
};
"""
CHOOSE = """
const [name, value] = arguments;
const select = document.querySelector(`.chooser select[name=${name}]`);
select.value = value;
select.dispatchEvent(new Event("change"));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with more to choose from than its own machines and link."""
    pytest.importorskip("matplotlib")
    file = tmp_path_factory.mktemp("page") / "report.html"
    own = Scenario(LINK, PHONE, EDGE, LAYERS)
    choosable = Choosable((PHONE, EDGE), (LINK, SLOW), LAYERS)
    file.write_text(build(some_records(), scenarios=[own], choosable=choosable, figures=True))
    return file


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def opened(
    window: Browser, page: Path, size: tuple[int, int] = WIDE, fragment: str = "", scheme: str = "light"
) -> None:
    window.size(*size)
    window.prefer(scheme)
    window.open(page, fragment)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_first_screen_shows_sentence_picture_and_table(window: Browser, page: Path, size: tuple[int, int]) -> None:
    opened(window, page, size)
    for part in (".recommended", ".bars", ".headline table"):
        box = window.script("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", part)
        assert 0 <= box["top"] < box["bottom"] <= size[1], part
        assert 0 <= box["left"] < box["right"] <= size[0], part


def test_the_page_asks_for_nothing_and_logs_nothing(window: Browser, page: Path) -> None:
    opened(window, page)
    assert window.script("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    assert window.messages() == []


def test_no_column_is_cut_off_in_a_narrow_window(window: Browser, page: Path) -> None:
    opened(window, page, NARROW)
    assert window.script(CUT_OFF) == []


def test_on_paper_no_column_is_cut_off(window: Browser, page: Path) -> None:
    opened(window, page, (700, 900))  # what is between the margins of A4
    window.prefer(media="print")
    assert window.script(CUT_OFF) == []
    assert not window.script("return document.querySelector('.chooser').checkVisibility()")
    assert window.script("return document.querySelector('.headline table').checkVisibility()")


def test_headers_stay_on_top(window: Browser, page: Path) -> None:
    opened(window, page)
    places = window.script(
        """
        const table = document.querySelector(".splits table");
        scrollTo(0, table.tBodies[0].rows[1].getBoundingClientRect().top + scrollY);
        return [document.querySelector(".bar").getBoundingClientRect(), table.tHead.getBoundingClientRect()]
          .map((box) => box.top);
        """
    )
    bar_height = window.script("return document.querySelector('.bar').offsetHeight")
    assert places == pytest.approx([0, bar_height], abs=1)


def test_the_page_s_headline_is_that_of_plan_and_table(window: Browser, page: Path) -> None:
    opened(window, page)
    machines, links = {"phone": PHONE, "gpu-edge": EDGE}, {"test-link": LINK, "slow": SLOW}
    numbers = random.Random(0)
    for _ in range(50):
        choice = {
            "device": numbers.choice(["host", "phone", "gpu-edge"]), "edge": numbers.choice(["host", "gpu-edge"]),
            "link": numbers.choice(list(links)), "budget": numbers.choice(["0", "0.5", "1", "2", "4"]),
        }  # fmt: skip
        for name, value in choice.items():
            window.script(CHOOSE, name, value)
        scenario = Scenario(links[choice["link"]], machines.get(choice["device"]), machines.get(choice["edge"]), LAYERS)
        budget = float(choice["budget"])
        headline = plan_of(some_records(), budget, scenario).headline
        assert_shown(window.script(SHOWN), headline, choice)
        table = table_of(Store(page.parent), some_records(), manager(), scenario, budget=budget)
        assert table.render("text", 100).endswith(headline.text(100))


def assert_shown(shown: Any, headline: Any, choice: dict[str, str]) -> None:
    """The page shows this headline, in the table and in the picture, and its link leads to this choice."""
    assert shown["sentence"] == headline.sentence
    (block,) = headline.document(points=False).blocks
    rows = [
        [" ".join(filter(None, (name, found.point))), *(cell.text + cell.marks for cell in cells)]
        for found, (name, cells) in zip(headline.rows, block.rows, strict=True)
    ]
    assert [[bare(text) for text in row] for row in shown["rows"]] == [[bare(text) for text in row] for row in rows]
    assert [bare(text) for text in shown["bars"]] == [
        bare(name + cells[0].text + cells[0].marks) for name, cells in block.rows
    ]
    assert shown["chosen"] == list(choice.values())
    assert shown["link"] == f"#{urlencode(choice)}"


def bare(text: str) -> str:
    return "".join(text.split())


def test_a_fragment_keeps_the_choice(window: Browser, page: Path) -> None:
    choice = {"device": "host", "edge": "host", "link": "slow", "budget": "4"}
    opened(window, page, fragment=urlencode(choice))
    assert window.script(SHOWN)["chosen"] == ["host", "host", "slow", "4"]
    window.script(CHOOSE, "link", "test-link")
    assert window.script("return location.hash") == f"#{urlencode({**choice, 'link': 'test-link'})}"
    window.script("location.hash = arguments[0]", urlencode({**choice, "budget": "0.5"}))
    assert window.script("return new Promise((done) => setTimeout(done, 50))") is None
    assert window.script(SHOWN)["chosen"] == ["host", "host", "slow", "0.5"]


@pytest.mark.parametrize("fragment", ["device=nobody&link=%3Cb%3E&budget=7", "toy-codecs", "device", "%"])
def test_other_fragments_leave_the_default_choice(window: Browser, page: Path, fragment: str) -> None:
    opened(window, page, fragment=fragment)
    assert window.script(SHOWN)["chosen"] == ["phone", "gpu-edge", "test-link", "1"]
    assert window.messages() == []


def test_without_script_all_can_be_read(window: Browser, page: Path) -> None:
    window.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened(window, page, NARROW)
        nodes = window.devtools("DOMSnapshot.captureSnapshot", computedStyles=[])["strings"]
    finally:
        window.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert any(text.startswith("Device phone, edge gpu-edge, link test-link") for text in nodes)
    assert not any(text == "Link to this choice" for text in nodes)


def test_tables_are_sorted_and_filtered(window: Browser, page: Path) -> None:
    opened(window, page)
    sorts = """
    const table = document.querySelector(".splits table");
    const numbers = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].textContent));
    const button = table.querySelectorAll("th button")[1];
    const before = numbers();
    button.click();
    const rising = [numbers(), button.parentElement.getAttribute("aria-sort")];
    button.click();
    button.click();
    return [before, ...rising, numbers()];
    """
    before, rising, direction, after = window.script(sorts)
    assert [number for number in rising if number is not None] == sorted(x for x in before if x is not None)
    assert direction == "ascending"
    assert after == before
    filters = """
    const tools = document.querySelector(".splits .tools");
    const search = tools.querySelector("input");
    search.value = "no row has this text";
    search.dispatchEvent(new Event("input"));
    return tools.querySelector("output").textContent;
    """
    assert window.script(filters).startswith("0 of ")


def test_arrow_keys_tell_the_values_of_a_figure(window: Browser, page: Path) -> None:
    opened(window, page)
    told = window.script(
        """
        const card = document.querySelector(".card[data-points]");
        card.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
        return card.nextElementSibling.textContent;
        """
    )
    assert told


def test_colours_can_be_chosen(window: Browser, page: Path) -> None:
    opened(window, page)
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = window.script(colour)
    window.script("document.querySelector('.theme').click()")
    assert window.script(colour) != light


def test_the_contents_open_and_close(window: Browser, page: Path) -> None:
    opened(window, page)
    window.script("document.querySelector('.menu summary').click()")
    assert window.script("return document.querySelector('.menu').open")
    window.script("document.querySelector('.menu a').click()")
    assert not window.script("return document.querySelector('.menu').open")


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm pack axe-core, and AXE_CORE=.../axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing(window: Browser, page: Path, size: tuple[int, int], scheme: str) -> None:
    opened(window, page, size, scheme=scheme)
    window.script(CUT_OFF)
    window.script(AXE.read_text())
    found = window.script("return axe.run(document)")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert len(found["passes"]) > 20


@pytest.mark.slow
def test_the_report_of_the_reference_records(window: Browser, tmp_path: Path) -> None:
    """Its size, its width, and 50 of its headlines beside those of `codecbench plan` and `table`."""
    from codecbench.cli.report import report

    file = tmp_path / "report.html"
    report(out=ROOT / "results", file=file, figures=True)
    assert file.stat().st_size < 5_000_000
    opened(window, file, NARROW)
    assert window.script(CUT_OFF) == []
    lists = window.script(
        """
        const values = (select) => [...select.options].map((one) => one.value);
        return [...document.querySelectorAll(".chooser select")].map((one) => [one.name, values(one)]);
        """
    )
    results = load(ROOT / "results")
    numbers = random.Random(1)
    for number in range(50):
        choice = {name: numbers.choice(values) for name, values in lists}
        for name, value in choice.items():
            window.script(CHOOSE, name, value)
        options = {**choice, "budget": float(choice["budget"])}
        headline = results.plan(**options).headline
        assert_shown(window.script(SHOWN), headline, choice)
        if number % 10 == 0:  # a table takes seconds
            assert results.table(**options).render("text", 100).endswith(headline.text(100))
