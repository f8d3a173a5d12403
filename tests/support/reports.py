"""Pages of reports: built of made-up records, taken apart, and held to what is true of every page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from codecbench.analysis.latency import Scenario
from codecbench.report import build as report
from codecbench.report.build import Request
from codecbench.results.record import Record
from support.factories import LINK, make_record

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
    assert len(page.all("style")) == len(page.all("main")) == len(page.all("h1")) == 1
    assert [attributes for attributes in page.all("script") if attributes != {"type": "application/json"}] == [{}]
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
