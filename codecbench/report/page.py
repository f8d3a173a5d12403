"""Renders the report: templates and the values that the sections give them, to one HTML page that loads nothing.

Jinja2 escapes every value that comes from records. A content security policy in the page allows its one style sheet and
its one script, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from codecbench.results.cell import slug


@dataclass
class Ids:
    """Identifiers of elements: readable, and unique in the page whatever the names of workloads and codecs are."""

    _of: dict[tuple[str, ...], str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=lambda: {"main": 1})

    def of(self, *words: str) -> str:
        """The identifier of what these words name: the same for the same words."""
        if words not in self._of:
            self._of[words] = self.fresh(*words)
        return self._of[words]

    def fresh(self, *words: str) -> str:
        """One more identifier after these words, unlike any before."""
        # The count keeps apart what a slug makes alike. A tilde is in no slug, so that "a" and "a-2" cannot meet.
        name = slug("-".join(words)).lower()
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}~{count}"


@dataclass(frozen=True)
class Section:
    """One section of the page: its place and title, and the template that shows its values under that title.

    `level` is that of its heading. `place` is its identifier.
    """

    template: str
    level: int
    place: str
    title: str
    values: Mapping[str, object]


def text(plain: object) -> Markup:
    """Escaped, for content and for attributes."""
    return escape(plain)


def link(target: str, plain: str) -> Markup:
    """A link to a place in the page."""
    return Markup('<a href="#{}">{}</a>').format(target, plain)


def trusted(html: str) -> Markup:
    """The same text, marked as HTML that templates do not escape: the one way around the escaping.

    Four kinds of text are HTML already, and safe: tables of `codecbench.tables.document`, which escapes each text of a
    table; drawings, whose texts ElementTree escapes when it writes the SVG; the page's one style sheet; its one script.
    """
    return Markup(html)  # noqa: S704 - the docstring says why each caller's text is safe


def render(**values: object) -> str:
    """Returns the whole page from the values of `page.html`, ending in a newline."""
    css, script = (_asset(name) for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(css=trusted(css), css_hash=_hash(css), script=trusted(script), script_hash=_hash(script), **values)
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("codecbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _asset(name: str) -> str:
    return files("codecbench").joinpath(f"report/assets/{name}").read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Returns what a content security policy names an inline style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
