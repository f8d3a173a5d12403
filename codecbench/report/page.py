"""The shell of a report: one HTML page that loads nothing, and the pieces that its sections are made of.

Everything that comes from records goes through `text` or `codecbench.tables.document`, which escape it. A content
security policy in the page allows its one style sheet and its one script, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from codecbench.results.cell import slug
from codecbench.tables import document as layout

NOTES_SHOWN = 4
"""More footnotes than this are folded away."""


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
        wanted = slug("-".join(words)).lower()
        self._counts[wanted] = count = self._counts.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}~{count}"


@dataclass
class Styles:
    """Declarations of drawings as classes of the one style sheet: the policy allows no `style` attributes."""

    _names: dict[str, str] = field(default_factory=dict)

    def of(self, declarations: str) -> str:
        """The class that stands for these declarations of CSS. Raises ValueError for what is more than that."""
        if set(declarations) & set("<>{}"):
            raise ValueError(f"no declarations of CSS: {declarations!r}")
        return self._names.setdefault(declarations, f"d{len(self._names)}")

    def css(self) -> str:
        """A rule a class."""
        return "".join(f".{name} {{ {declarations} }}\n" for declarations, name in self._names.items())


def text(plain: object) -> str:
    """Escaped, for content and for attributes."""
    return html.escape(str(plain))


def paragraph(markup: str, kind: str = "") -> str:
    """A `<p>`."""
    return f'<p class="{kind}">{markup}</p>' if kind else f"<p>{markup}</p>"


def items(markup: Iterable[str], kind: str = "", tag: str = "ul") -> str:
    """A list, or nothing where there are no items."""
    lines = [f"<li>{item}</li>" for item in markup]
    return "\n".join([f'<{tag} class="{kind}">' if kind else f"<{tag}>", *lines, f"</{tag}>"]) if lines else ""


def link(target: str, plain: str) -> str:
    """A link to a place in the page."""
    return f'<a href="#{target}">{text(plain)}</a>'


def folded(summary: str, markup: str) -> str:
    """A `<details>`; the summary is plain text."""
    return f"<details><summary>{text(summary)}</summary>\n{markup}\n</details>"


def section(level: int, identifier: str, title: str, *parts: str) -> str:
    """A `<section>` that its heading names. Empty parts are left out."""
    name = f"{identifier}~title"
    heading = f'<h{level} id="{name}">{text(title)}</h{level}>'
    inner = "\n".join(part for part in (heading, *parts) if part)
    return f'<section id="{identifier}" aria-labelledby="{name}">\n{inner}\n</section>'


def table(
    ids: Ids, block: layout.Block, caption: str, label: Callable[[str], str] = text, *, prose: bool = False
) -> str:
    """One table, which the page's script lets readers sort and filter.

    With `prose`, long texts in its cells are broken into lines.
    """
    return f'<div class="tables">\n{_region(ids, block, caption, label, "scroll prose" if prose else "scroll")}\n</div>'


def _region(ids: Ids, block: layout.Block, caption: str, label: Callable[[str], str], kind: str) -> str:
    """A table in a region that scrolls by itself and takes the focus, so that a keyboard reaches all of it."""
    name = ids.fresh("table", caption)
    made = layout.html_table(block, caption=caption, label=label, right='class="r"', caption_id=name)
    return f'<div class="{kind}" role="group" tabindex="0" aria-labelledby="{name}">\n{made}\n</div>'


def document(
    ids: Ids,
    shown: layout.Document,
    label: Callable[[str], str] = text,
    *,
    scope: str = "",
    groups_are_splits: bool = False,
) -> str:
    """A document's tables, remarks, marks and footnotes. `scope` tells its captions from those of its likes.

    `groups_are_splits` lets the page's script choose among the groups of columns as split points.
    """
    captions = (layout.html_caption(shown, block) for block in shown.blocks)
    regions = (
        _region(ids, block, f"{caption}, {scope}" if scope else caption, label, "scroll")
        for block, caption in zip(shown.blocks, captions, strict=True)
    )
    kind = "tables splits" if groups_are_splits else "tables"
    tables = [f'<div class="{kind}">\n{"".join(regions)}\n</div>']
    notes = items((text(note) for note in shown.notes), "notes", "ol")
    if len(shown.notes) > NOTES_SHOWN:
        notes = folded(f"{len(shown.notes)} notes", notes)
    return "\n".join(part for part in (*tables, items(layout.html_remarks(shown), "remarks"), notes) if part)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms, as plain text, and what is to be said of each, as HTML."""
    lines = [f"<div><dt>{text(term)}</dt><dd>{markup}</dd></div>" for term, markup in pairs]
    return "\n".join(['<dl class="facts">', *lines, "</dl>"])


def rows(
    stub: str, headings: Sequence[str], alignments: str, lines: Iterable[tuple[str, Sequence[str]]]
) -> layout.Block:
    """A plain table of texts; `alignments` has a letter a column behind the first, `l` or `r`."""
    names = {"l": "left", "r": "right"}
    group = layout.Group("", tuple(headings), tuple(names[letter] for letter in alignments))
    return layout.Block(
        stub, (group,), tuple((label, tuple(layout.Cell(cell) for cell in cells)) for label, cells in lines)
    )


def page(title: str, header: str, contents: Sequence[tuple[str, str]], body: str, styles: Styles) -> str:
    """The whole page. `contents` holds the target and the title of each section; header and body are HTML."""
    css = _resource("report.css") + styles.css()
    script = _resource("report.js")
    policy = "; ".join(
        [
            "default-src 'none'", f"style-src '{_hash(css)}'", f"script-src '{_hash(script)}'", "img-src data:",
            "base-uri 'none'", "form-action 'none'",
        ]
    )  # fmt: skip
    entries = items(link(target, name) for target, name in contents)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>{css}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
{header}
</header>
<nav aria-label="Contents">
{entries}
</nav>
<main id="main" tabindex="-1">
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return files("codecbench").joinpath(f"report/assets/{name}").read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What a content security policy names an inline style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
