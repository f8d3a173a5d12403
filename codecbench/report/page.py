"""Renders the values of the sections with Jinja2 templates to one HTML page that loads nothing.

Jinja2 escapes every value that comes from records. The page's content security policy allows only its own style sheet
and script, by their hashes.
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

SCRIPTS = ("chooser.js", "report.js")
"""The files of the page's script: first the headline, then what is to be added to all tables."""


@dataclass
class Ids:
    """Makes element ids that are readable, and unique in the page for any names of workloads and codecs."""

    _of: dict[tuple[str, ...], str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=lambda: {"main": 1})

    def of(self, *words: str) -> str:
        """Returns the id of these words, the same for the same words."""
        if words not in self._of:
            self._of[words] = self.fresh(*words)
        return self._of[words]

    def fresh(self, *words: str) -> str:
        """Returns a new id made of these words, different from all ids so far."""
        # The count distinguishes words with equal slugs. No slug holds a tilde, so a second "a" cannot equal "a-2".
        name = slug("-".join(words)).lower()
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}~{count}"


@dataclass(frozen=True)
class Section:
    """One section of the page: its template, the level of its heading, its id, its title, and the template's values.

    `place` is the id.
    """

    template: str
    level: int
    place: str
    title: str
    values: Mapping[str, object]


def text(plain: object) -> Markup:
    """Returns text escaped for HTML content and attributes."""
    return escape(plain)


def link(target: str, plain: str) -> Markup:
    """Returns a link to an id in the page."""
    return Markup('<a href="#{}">{}</a>').format(target, plain)


def trusted(html: str) -> Markup:
    """Returns the text marked as HTML, which templates do not escape. Nothing else bypasses the escaping.

    Four kinds of text are safe HTML already: tables of `codecbench.tables.document`, which escapes their texts;
    figures, whose texts ElementTree escapes when it writes the SVG; the page's style sheet; and the page's script.
    """
    return Markup(html)  # noqa: S704 - the docstring says why each caller's text is safe


def render(template: str = "page.html", **values: object) -> str:
    """Returns a whole page from the values of its template, which extends `shell.html`, ending in a newline."""
    css, script = _asset("report.css"), "\n".join(map(_asset, SCRIPTS))
    return (
        _environment()
        .get_template(template)
        .render(css=trusted(css), css_hash=_hash(css), script=trusted(script), script_hash=_hash(script), **values)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("codecbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _asset(name: str) -> str:
    return files("codecbench").joinpath(f"report/assets/{name}").read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Returns the hash source of an inline style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
