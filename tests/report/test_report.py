"""The report: what it holds, that it loads nothing, that nothing in a record runs, that it is the same each time."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from typing import Any

import pytest
from support.factories import (
    LINK,
    make_group,
    make_layers,
    make_others,
    make_profile,
    make_record,
    many_records,
    undefined,
)
from support.reports import Page, build, check, section, some_records

from codecbench import Codec, Link, TensorSpec, UsageError
from codecbench.analysis.latency import Scenario
from codecbench.links.model import FixedRateLink
from codecbench.report.sections.figures import inline
from codecbench.results.record import Record

HOSTILE = '<script>alert("x")</script>'


def test_everything_stands_on_the_page() -> None:
    text = build(some_records(), command="codecbench report --out somewhere")
    page = check(text)
    headings = page.said("h2") + page.said("h3")
    assert page.said("h1") == ["codecbench: toy"]
    for heading in (
        "How to read this page", "Tables", "Which codec, and where to cut", "Beside the paper", "Codec by codec",
        "alpha", "beta", "gamma", "Provenance", "Over test-link: a test link",
    ):  # fmt: skip
        assert heading in headings
    assert "codecbench report --out somewhere" in page.said("code")
    assert "codecbench run" in page.said("code")
    assert "26 (24 ok, 1 skipped, 1 failed): 3 codecs at 2 split points" in page.said("dd")


def test_holes_are_there_with_their_reasons() -> None:
    found = section(build(some_records()), "toy-codec-gamma")
    page = Page(found + "</section>")
    cells = page.said("td")
    assert cells[:3] == ["input", "skipped", "needs an image"]
    assert cells[3:] == ["stem", "failed", "PayloadError: too short"]


def test_a_codec_shows_every_point_with_its_mark() -> None:
    page = Page(section(build(some_records()), "toy-codec-alpha") + "</section>")
    headings = page.said("th")
    assert headings[:8] == ["point", "split", "bytes", "% of raw", "bound", "top-1 %", "change", "encode ms"]
    assert headings.count("q=4") == 2
    cells = page.said("td")
    # q=4 is the smallest within the budget of 1: marked. q=8 is not.
    row = cells[cells.index("400.0") - 1 :]
    value, change = "90.0 [88.0,\N{NO-BREAK SPACE}92.0]", "-1.0 [-1.2,\N{NO-BREAK SPACE}-0.8] \N{BLACK CIRCLE}"
    assert row[:6] == ["input", "400.0", "40", "396.0", value, change]


def test_cells_of_tables_that_become_cards_name_their_columns() -> None:
    text = build(some_records())
    cards = Page(section(text, "toy-codec-alpha") + "</section>")
    headings = cards.said("th")[1 : cards.said("th").index("q=1")]
    labels = [attributes["data-label"] for attributes in cards.all("td")]
    assert len(headings) > 4
    assert labels == headings * (len(labels) // len(headings))
    groups = Page(section(text, "toy-tables-test-link") + "</section>").all("td")
    assert {"input: bytes (%)", "stem: change"} <= {attributes.get("data-label") for attributes in groups}
    few = Page(section(text, "toy-codec-gamma") + "</section>")
    assert not any("data-label" in attributes for attributes in few.all("td"))


def test_other_metrics_stand_beside_the_deciding_one() -> None:
    records = [
        record.model_copy(update={"others": make_others(record, **{f"F1 {HOSTILE}": 0.25}) if record.task else []})
        for record in some_records()
    ]
    text = build(records)
    check(text)
    page = Page(section(text, "toy-codec-alpha") + "</section>")
    assert page.said("th")[5:9] == ["top-1 %", "change", f"F1 {HOSTILE} %", "encode ms"]
    assert "0.2" in page.said("td")
    assert Page(text).said("th").count(f"F1 {HOSTILE} %") > 2


def test_names_cannot_become_markup() -> None:
    options: dict[str, Any] = {"workload": HOSTILE}
    records = [
        make_record(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, row=f"{HOSTILE} (own)", **options),
        make_record(
            HOSTILE, "</style><b>", {}, status="failed", reason=f"{HOSTILE}<img src=x onerror=alert(1)>", **options
        ),
        make_record("a b", "a b", **options),
        make_record("a b", 'c style="}</style><b>" id="main"', **options),
        make_record("a-b", "a-b", **options),
    ]
    link = FixedRateLink(HOSTILE, 1e6, description='"><img src="http://example.org/x">')
    text = build(records, scenarios=[Scenario(link)], command=f"codecbench report {HOSTILE}", figures=True)
    page = check(text)
    assert page.all("img") == []
    assert HOSTILE in "".join(page.said("h3"))


GROUPS = ("", "key", "tensor", "size", "size.payload_bytes", "time", "timed", "cost", "task", "choice", "provenance")
GROUPS += ("time.head_s", "time.encode_s", "time.decode_s", "time.tail_s")
"""Where a record has fields; every other mapping in it has names that somebody chose."""
CHOICES = ("status", "task.test", "provenance.isolation", "digest")
"""Texts that can only be one of a few words, or a hash."""


def with_scripts(value: Any, place: str, scripts: set[str]) -> Any:
    """A record's values with a script of its own in every text, and in every name that somebody chose."""
    script = f"<script>{place}</script>"
    if isinstance(value, dict):
        if place not in GROUPS:
            scripts.add(script)
            value = {f"{name}{script}": each for name, each in value.items()}
        return {name: with_scripts(each, f"{place}.{name}".strip("."), scripts) for name, each in value.items()}
    if not isinstance(value, str) or place in CHOICES:
        return value
    script = f"<script>{place.partition('<')[0]}</script>"
    scripts.add(script)
    return f"{value}{script}"


def test_no_text_of_a_record_becomes_markup() -> None:
    pytest.importorskip("matplotlib")
    scripts: set[str] = set()
    records = [
        Record.model_validate(with_scripts(record.model_dump(), "", scripts))
        for record in (
            make_record(),
            make_record("stem", "beta", {"kind": "own"}),
            make_record("stem", status="failed", reason="broken"),
        )
    ]
    text = build(records, figures=True)
    page = check(text)
    shown = "".join(told for tag, told in page.texts if tag not in ("script", "style"))
    assert {script for script in scripts if script not in shown} == {"<script>cell</script>"}
    assert {f"<script>{place}</script>" for place in ("reason", "key.point", "provenance.packages")} < scripts
    assert re.findall("<script[^>]*>", text) == ['<script type="application/json">', "<script>"]


def test_a_report_says_what_was_isolated_by_less_than_the_kernel() -> None:
    plain = build(some_records())
    assert "<dt>isolation</dt><dd>the kernel&#39;s, in all measured cells</dd>" in plain
    assert "Isolation" not in plain
    assert "kernel (Landlock 7, seccomp, audit hook)" in plain
    every = build(some_records(isolation="unknown"))
    assert "<dt>isolation</dt><dd>Isolation unknown: made before schema 3.</dd>" in every
    tables = every[every.index('<section id="toy-tables"') : every.index('<section id="toy-plan"')]
    assert tables.count("<li>Isolation unknown: made before schema 3.</li>") == 2
    assert "°" not in every
    delta = make_record("input", "delta", payload_bytes=5, encode_s=1e-6, isolation="audit", mixed_plugin=True)
    some = build([*some_records(), delta, make_record("stem", "better", change=1.0)])
    check(some)
    assert re.search("<dt>runner-up, [^<]*</dt><dd><strong>input delta</strong>[^<]* °§</dd>", some)
    assert "<li>° isolation below the kernel&#39;s in 1 of " in some
    assert "<li>§ the codec&#39;s file also registers the workload" in some
    assert "audit (audit hook), codec and workload in one file" in some


def test_what_a_codec_says_of_itself_cannot_become_markup() -> None:
    class Alpha(Codec):
        name = "alpha"

        def encode(self, x: Any) -> bytes:
            return b""

        def decode(self, payload: bytes) -> Any:
            return None

    Alpha.__doc__ = f"Sends {HOSTILE} and `{HOSTILE}`."
    page = check(build(some_records(), docstrings={"alpha": inspect.getdoc(Alpha) or ""}))
    assert HOSTILE in page.said("code")
    assert f"Sends {HOSTILE} and " in page.said("p")


def test_texts_of_a_drawing_are_left_alone() -> None:
    hostile = ' style="}&lt;/style&gt;&lt;b&gt;" id="x" url(#y) href="#z"'
    assert inline(f"<svg><text>{hostile}</text></svg>", "here") == f"<svg><text>{hostile}</text></svg>"


def test_the_same_records_give_the_same_page() -> None:
    records = some_records()
    assert build(records) == build(list(records))


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([make_record()], id="one cell"),
        pytest.param([make_record(status="failed")], id="nothing measured"),
        pytest.param([make_record(with_choice=False), make_record(codec="beta", with_choice=False)], id="no choice"),
        pytest.param(some_records(with_timed=False), id="schema 1"),
        pytest.param(some_records(n=100) + some_records(n=50), id="two sample sets"),
        pytest.param(some_records(higher_is_better=False, half_width=0.01), id="less is better"),
        pytest.param([make_record(raw_bytes=0.0, payload_bytes=0.0)], id="an empty tensor"),
    ],
)
def test_unusual_records_make_a_page(records: list[Record]) -> None:
    check(build(records))


def test_what_is_left_out_is_said() -> None:
    page = check(build(some_records(n=100) + some_records(n=50)))
    assert any("Left out: 26 records of the sample set test-50-00c0ffee" in text for text in page.said("li"))


def test_each_workload_has_its_part() -> None:
    records = some_records(workload="one") + some_records(workload="two")
    page = check(build(records, budgets={"one": 1.0, "two": 2.0}))
    assert page.said("h1") == ["codecbench: one and two"]
    assert {"one", "two", "Provenance"} <= set(page.said("h2"))
    assert page.said("h3").count("Tables") == 2


def test_each_link_has_its_tables_and_its_plan() -> None:
    other = FixedRateLink("slow", 1e5, description="a slow one")
    page = check(build(some_records(), scenarios=[Scenario(LINK), Scenario(other)]))
    headings = page.said("h3")
    for heading in ("Over test-link: a test link", "Over slow: a slow one", "Over test-link", "Over slow"):
        assert heading in headings


def test_a_link_without_bandwidth_is_told_of() -> None:
    class Odd(Link):
        name, description = "odd", ""

        def seconds(self, payload_bytes: Any) -> Any:
            import numpy as np

            return np.full_like(np.asarray(payload_bytes, dtype=float), 0.01)

    page = check(build(some_records(), scenarios=[Scenario(Odd())]))
    assert any("How the choice changes with bandwidth is not known" in text for text in page.said("p"))


def test_what_a_profile_predicts_is_marked_everywhere() -> None:
    profile = make_profile("slow", layer_s=0.01, general=4.0)
    scenario = Scenario(LINK, device=profile, layers={"toy": make_layers()})
    page = check(build(some_records(), scenarios=[scenario]))
    marks = Counter(text for text in page.said("li") if text.endswith("predicted by a device profile, not measured"))
    # The headline, the latency table and the Pareto front; the points of each of two codecs.
    assert list(marks.values()) == [3, 2]
    assert any("(head 0*, encode 4.4*, network 1.4, decode 2.2, tail 3.3)" in text for text in page.said("dd"))
    assert any(text.startswith("Device slow, edge host, link test-link") for text in page.said("p"))
    assert "slow" in page.said("th")


def test_the_paper_can_be_left_out() -> None:
    assert "Beside the paper" not in build(some_records(), paper=False)


def test_a_codec_that_is_installed_says_what_it_is() -> None:
    class Alpha(Codec):
        """Sends `q` values & no more.

        What else there is to say.
        """

        name = "alpha"

        def __init__(self, spec: TensorSpec, q: int = 1) -> None:
            super().__init__(spec)

        def encode(self, x: Any) -> bytes:
            return b""

        def decode(self, payload: bytes) -> Any:
            return None

    text = build(some_records(), docstrings={"alpha": inspect.getdoc(Alpha) or ""})
    assert "<p>Sends <code>q</code> values &amp; no more.</p>" in section(text, "toy-codec-alpha")
    assert "is not installed here" in section(text, "toy-codec-beta")


def test_records_say_what_their_codec_is_before_an_installed_one_does() -> None:
    records = some_records(description="Sends `q` values & no more.", made_by=make_group())
    text = build(records, docstrings={"alpha": "Another."}, budgets={})
    assert "<p>Sends <code>q</code> values &amp; no more.</p>" in section(text, "toy-codec-alpha")
    assert "Another." not in text
    assert "accepted loss 1" in text
    assert f"toy: {'2' * 64}" in text
    assert f"toy: {'3' * 64}" in text


def test_an_anchor_can_be_chosen() -> None:
    pytest.importorskip("bjontegaard")
    assert "more bytes (or, negative, fewer) a row takes than beta (own) at" in build(
        some_records(), anchor="beta (own)"
    )
    page = check(build(some_records(), anchor="delta"))
    assert any("no row in these records: 'delta'" in text for text in page.said("p"))


def test_what_cannot_be_reported_is_an_error() -> None:
    with pytest.raises(UsageError, match="there are no records to report; `codecbench run` makes some"):
        build([])
    with pytest.raises(UsageError, match="one or more links, each once, not test-link, test-link"):
        build([make_record()], scenarios=[Scenario(LINK), Scenario(LINK)])
    with pytest.raises(UsageError, match="no budget is known for workload 'toy'"):
        build([make_record()], budgets={})


def test_figures_stand_on_the_page_with_their_numbers() -> None:
    pytest.importorskip("matplotlib")
    text = build(some_records(), figures=True)
    page = check(text)
    drawn = [attributes for attributes in page.all("svg") if "aria-hidden" not in attributes]
    assert len(drawn) == len(page.all("figure")) == len(page.all("figcaption")) >= 7
    assert all(attributes["role"] == "img" and attributes["aria-labelledby"] for attributes in drawn)
    assert page.said("summary").count("The numbers of this figure") == len(drawn)
    assert "<style" not in re.sub(r"<style>.*?</style>", "", text, count=1, flags=re.DOTALL)


def test_without_matplotlib_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    page = check(build(some_records(), figures=True))
    assert any("pip install" in text for text in page.said("p"))
    assert page.all("figure") == []


def test_a_drawing_is_made_part_of_the_page() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100pt" height="50pt" viewBox="0 0 100 50" role="img" '
        'aria-labelledby="f-title f-desc"><title id="f-title">t</title><desc id="f-desc">d</desc>'
        '<defs><path id="f-0"/></defs><use href="#f-0" fill="url(#f-0)"/><g fill="url(#f-0)"/></svg>'
    )
    assert inline(svg, "here") == (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50" role="img" '
        'aria-labelledby="here~f-title here~f-desc" width="193"><title id="here~f-title">t</title>'
        '<desc id="here~f-desc">d</desc><defs><path id="here~f-0"/></defs>'
        '<use href="#here~f-0" fill="url(#here~f-0)"/><g fill="url(#here~f-0)"/></svg>'
    )


@pytest.mark.slow
def test_two_thousand_cells_weigh_less_than_five_megabytes() -> None:
    pytest.importorskip("matplotlib")
    records = many_records(2_000)
    assert len(records) == 2_000
    links = [Scenario(LINK), Scenario(FixedRateLink("slow", 1e6, description="a slow one"))]
    text = build(records, scenarios=links, figures=True)
    check(text)
    assert len(text.encode()) < 5_000_000


@pytest.mark.parametrize("share", ["all", "some"])
def test_a_metric_that_is_undefined_has_a_reason_on_the_page(share: str) -> None:
    pytest.importorskip("matplotlib")
    found = [undefined(record) if share == "all" or record.row == "alpha" else record for record in some_records()]
    text = build(found, figures=True)
    page = check(text)
    assert "nan" not in " ".join(page.said("td")).lower()
    assert any("top-1 is undefined: its denominators sum to 0" in said for said in page.said("li"))
    assert any(said.startswith("Left out: ") for said in page.said("li"))
    assert bool(page.all("figure")) == (share == "some")


def test_payloads_of_no_bytes_break_no_section() -> None:
    pytest.importorskip("matplotlib")
    found = [make_record(codec=codec, point={"q": q}, payload_bytes=float(q + add), change=-4.0 / (q + 1))
             for codec, add in (("few", 0), ("few-and-one", 1)) for q in (0, 8, 24, 48, 96)]  # fmt: skip
    text = build(found, figures=True, anchor="few-and-one")
    page = check(text)
    assert len(page.all("figure")) == 7
    assert "Left out: 1 point of 0 bytes (few): 0 has no logarithm." in page.said("li")


def test_a_point_that_is_over_the_budget_on_the_test_samples_is_marked_everywhere() -> None:
    text = build([make_record(codec="lucky", change=-1.6, choice_change=-0.2, encode_s=1e-6)])
    for place in ("toy-tables-test-link", "toy-plan-test-link", "toy-codec-lucky"):
        assert section(text, place).count("¶") >= 2, place
