"""An extension of Sphinx: navigation from the README's table of documentation, and notebooks with their outputs.

Events call these functions; `setup` says which.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FIRST = "Start here"
"""The caption of pages that the table names above its first group."""

UNNAMED = "Data sets and tools"
"""The caption of pages that the table does not name, and that are in no folder of pages that it names."""

_GROUP = re.compile(r"^\| \*\*(.+?)\*\* \| \|$")
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")


def groups(readme: str, pages: Collection[str]) -> dict[str, list[str]]:
    """Return the pages of each group in the README's tables, in their order.

    A group begins with a row that has nothing but a name in bold. `pages` are all pages, by their paths without ending.
    One that no table links to is in the group of its folder.
    """
    found: dict[str, list[str]] = {FIRST: []}
    for row in readme.splitlines():
        if match := _GROUP.match(row):
            found[match[1]] = []
        elif row.startswith("|"):
            linked = (posixpath.splitext(link)[0] for link in _LINK.findall(row))
            list(found.values())[-1].extend(page for page in linked if page in pages)
    of_folder = {posixpath.dirname(page): caption for caption, named in reversed(found.items()) for page in named}
    for page in sorted(set(pages) - {page for named in found.values() for page in named}):
        found.setdefault(of_folder.get(posixpath.dirname(page), UNNAMED), []).append(page)
    return {caption: list(dict.fromkeys(named)) for caption, named in found.items() if named}


def navigation(readme: str, pages: Collection[str]) -> str:
    """Return the navigation of the site, as Markdown that shows nothing on its page."""
    return "".join(
        "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *named, "```", ""])
        for caption, named in groups(readme, pages).items()
    )


def notebook(text: str, folder: Path) -> str:
    """Return a notebook as Markdown, with the outputs that its cells have when they run in this folder."""
    names: dict[str, Any] = {}
    parts: list[str] = []
    with contextlib.chdir(folder):
        for cell in json.loads(text)["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
            else:
                parts += [f"```python\n{source}\n```", *_outputs(source, names)]
    return "\n\n".join(parts) + "\n"


def _outputs(source: str, names: dict[str, Any]) -> Iterator[str]:
    """Run a cell, whose last line is an expression, and yield what a notebook would show of its value."""
    *before, last = source.split("\n")
    exec("\n".join(before), names)  # noqa: S102 - the project's own notebook
    value = eval(last, names)  # noqa: S307 - the same
    for shown in (getattr(value, name, None) for name in ("_repr_html_", "_repr_svg_")):
        if shown is not None:
            yield f'```{{raw}} html\n<div class="cell-output">\n{shown()}</div>\n```'
            return
    yield f"```text\n{value!r}\n```"


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to the front page, and run notebooks."""
    path = Path(app.env.doc2path(page))
    if page == app.config.root_doc:
        source[0] += navigation(source[0], app.env.found_docs - {page})
    elif path.suffix == ".ipynb":
        source[0] = notebook(source[0], path.parent)


def copy_front_page(app: Sphinx, error: Exception | None) -> None:
    """Write the front page as index.html, too, which web servers show for the folder."""
    if error is None:
        shutil.copyfile(app.outdir / f"{app.config.root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Connect the functions with Sphinx's events."""
    app.connect("source-read", complete)
    app.connect("build-finished", copy_front_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
