"""The report: what it holds, that it loads nothing, that nothing in a record runs, that it is the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from support.factories import LINK, make_layers, make_profile, make_record, many_records

from codecbench import Codec, Link, TensorSpec, UsageError
from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError
from codecbench.links.model import FixedRateLink
from codecbench.report import build as report
from codecbench.report.build import Request
from codecbench.report.page import Ids
from codecbench.report.sections.figures import inline
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "br", "wbr", "input", "link", "hr", "img"}
LOADING = ("src", "href", "xlink:href", "data", "poster", "action", "formaction", "srcset", "background")


class Page(HTMLParser):
    """A page taken apart: every tag held to its partner, ids, links, texts by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def check(text: str) -> Page:
    """What holds of every report: well formed, ids unique, links met, nothing loaded, only its own script and style."""
    page = Page(text)
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    for tag, attributes in page.tags:
        for name in LOADING:
            value = attributes.get(name)
            if value is not None:
                assert value.startswith("#"), (tag, name, value)
                assert value[1:] in ids, (tag, value)
        for name in ("aria-labelledby", "aria-describedby", "for"):
            for target in (attributes.get(name) or "").split():
                assert target in ids, (tag, name, target)
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert "@import" not in text
    assert all(target in ids for target in re.findall(r"url\(#([^)]*)\)", text))
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("script")) == len(page.all("style")) == len(page.all("main")) == len(page.all("h1")) == 1
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in (policy or "")
    captions = page.all("caption")
    assert len(captions) == len(page.all("table"))
    assert all(attributes.get("scope") in ("col", "colgroup", "row") for attributes in page.all("th"))
    return page


def some_records(**options: Any) -> list[Record]:
    """Two codecs at two split points, one of them with two rows, and one cell each that was skipped and that failed."""
    made = [
        make_record(split, "alpha", {"q": q}, payload_bytes=100 * q, change=-4 / q, estimated_bytes=99.0 * q, **options)
        for split in ("input", "stem")
        for q in (1, 2, 4, 8)
    ]
    made += [
        make_record(split, "beta", {"kind": kind, "q": q}, row=f"beta ({kind})", payload_bytes=50 * q, change=-6 / q,
                    **options)
        for split in ("input", "stem") for kind in ("own", "shared") for q in (1, 2, 4, 8)
    ]  # fmt: skip
    key = {name: value for name, value in options.items() if name in ("workload", "n")}
    made.append(make_record("input", "gamma", {"q": 1}, status="skipped", reason="needs an image", **key))
    made.append(make_record("stem", "gamma", {"q": 1}, status="failed", reason="PayloadError: too short", **key))
    return made


def build(records: Sequence[Record], **options: Any) -> str:
    settings: dict[str, Any] = {"scenarios": [Scenario(LINK)], "budgets": 1.0, "figures": False, **options}
    return report.build(Request(records=records, **settings))


def section(text: str, place: str) -> str:
    """What stands in a section, up to the next one of the same place's kind."""
    start = text.index(f'<section id="{place}"')
    end = text.find("</section>", start)
    return text[start:end]


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
    assert row[:6] == ["input", "400.0", "40", "396.0", "90.0 [88.0, 92.0]", "-1.0 [-1.2, -0.8] \N{BLACK CIRCLE}"]


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
CHOICES = ("status", "task.test")
"""Texts that can only be one of a few words."""


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
    assert re.findall("<script[^>]*>", text) == ["<script>"]


def test_templates_never_go_around_the_escaping() -> None:
    templates = [
        each for each in files("codecbench").joinpath("report/templates").iterdir() if each.name.endswith(".html")
    ]
    assert len(templates) > 10
    for template in templates:
        assert not re.search(r"\|\s*safe|autoescape|Markup", template.read_text(encoding="utf-8")), template.name


def test_what_a_codec_says_of_itself_cannot_become_markup() -> None:
    class Alpha(Codec):
        name = "alpha"

        def encode(self, x: Any) -> bytes:
            return b""

        def decode(self, payload: bytes) -> Any:
            return None

    Alpha.__doc__ = f"Sends {HOSTILE} and `{HOSTILE}`."
    page = check(build(some_records(), codecs={"alpha": Alpha}))
    assert HOSTILE in page.said("code")
    assert f"Sends {HOSTILE} and " in page.said("p")


def test_texts_of_a_drawing_are_left_alone() -> None:
    hostile = ' style="}&lt;/style&gt;&lt;b&gt;" id="x" url(#y) href="#z"'
    assert inline(f"<svg><text>{hostile}</text></svg>", "here") == f"<svg><text>{hostile}</text></svg>"


def test_ids_are_unique_whatever_they_are_made_from() -> None:
    ids = Ids()
    names = ["main", "a", "a", "a b", "a-b", "a 2", "a-2", "", " ", "<", "A"]
    assert len({ids.fresh(name) for name in names}) == len(names)
    assert ids.of("x", "y") == ids.of("x", "y") != ids.of("x", "z")
    assert all(re.fullmatch(r"[a-z0-9._=~-]+", ids.fresh(name)) for name in names)


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
    terms = page.said("dt")
    assert [term for term in terms if term.startswith("fastest")] == ["fastest over test-link", "fastest over slow"]


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
    # The latency table and the Pareto front; the points of each of two codecs.
    assert list(marks.values()) == [2, 2]
    assert any("(head 0*, encode 4.4*, network 1.4, decode 2.2, tail 3.3)" in text for text in page.said("dd"))
    assert "fastest over test-link, device slow" in page.said("dt")
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

    text = build(some_records(), codecs={"alpha": Alpha})
    assert "<p>Sends <code>q</code> values &amp; no more.</p>" in section(text, "toy-codec-alpha")
    assert "is not installed here" in section(text, "toy-codec-beta")


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
    drawn = page.all("svg")
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
    assert page.all("svg") == []


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


def write(folder: Path, records: Sequence[Record]) -> None:
    store = Store(folder)
    for record in records:
        store.write(CellKey(**record.key.model_dump()), record)


def run(arguments: Sequence[str]) -> None:
    import typer

    from codecbench.cli.report import report as command

    app = typer.Typer()
    app.command()(command)
    app(args=list(arguments), standalone_mode=False)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", some_records())
    file = tmp_path / "page.html"
    options = ["--budget", "1", "--link", "ethernet", "--no-figures", "--no-paper"]
    run(["--out", str(tmp_path / "results"), "--file", str(file), *options])
    page = check(file.read_text())
    assert "codecbench report --out results --link ethernet --budget 1.0 --no-figures --no-paper" in page.said("code")
    assert "26 records reported in " in capsys.readouterr().err
    assert str(tmp_path) not in file.read_text()


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, some_records())
    with pytest.raises(UsageError, match="no workload in these records: 'toi'; did you mean 'toy'"):
        run(["--out", str(tmp_path), "--workload", "toi"])
    with pytest.raises(DataError, match=r"cannot write .*; choose another --file"):
        run(["--out", str(tmp_path), "--budget", "1", "--no-figures", "--file", str(tmp_path / "none" / "page.html")])


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: int) -> None:
    style = files("codecbench").joinpath("report/assets/report.css").read_text()
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: luminance((light, dark)[scheme]) for name, light, dark in pairs}
    for ink in ("text", "soft", "link"):
        for paper in ("back", "raised", "mark"):
            dim, bright = sorted((colours[ink], colours[paper]))
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, paper)
