"""The site of the documentation: its navigation, its notebook, and the checks that a built one has to pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import DOCS, ROOT
from support.scripts import script

build = script(DOCS / "site" / "build.py")
pages = script(DOCS / "site" / "pages.py")

README = """# Title

| codec | bytes |
|---|---|
| raw | 1 |

## Documentation

| | |
|---|---|
| [First](docs/first.md) | start here |
| **Guides** | |
| [One](docs/guides/one.md#part), [two](docs/guides/two.ipynb) | a guide |
| **The project** | |
| [Changes](CHANGELOG.md), [licence](LICENSE), [home](https://example.org/three.md) | |
"""


def test_navigation_has_the_groups_and_the_order_of_the_readme() -> None:
    known = {"docs/first", "docs/guides/two", "docs/guides/one", "CHANGELOG"}
    assert pages.groups(README, known) == {
        "Start here": ["docs/first"],
        "Guides": ["docs/guides/one", "docs/guides/two"],
        "The project": ["CHANGELOG"],
    }


def test_pages_that_the_readme_does_not_name_are_beside_those_of_their_folder_or_last() -> None:
    known = {"docs/guides/new", "docs/guides/one", "datasets/README"}
    assert list(pages.groups(README, known).items()) == [
        ("Guides", ["docs/guides/one", "docs/guides/new"]),
        ("Data sets and tools", ["datasets/README"]),
    ]


def test_navigation_is_hidden_lists_of_pages() -> None:
    assert pages.navigation(README, {"CHANGELOG"}) == (
        "\n```{toctree}\n:hidden:\n:caption: The project\n\nCHANGELOG\n```\n"
    )


def test_every_page_of_this_project_has_a_group_of_the_readme_but_those_of_data_sets_and_tools() -> None:
    known = {str(page.relative_to(ROOT).with_suffix("")) for page in DOCS.rglob("*.md")} | {"docs/tutorial/results"}
    found = pages.groups((ROOT / "README.md").read_text(), known)
    assert {"Guides", "Reference", "Results", "The project"} <= found.keys()
    assert pages.UNNAMED not in found


def test_a_notebook_is_run_in_its_folder_and_shows_what_its_cells_return(tmp_path: Path) -> None:
    (tmp_path / "value.txt").write_text("7")
    sources = [
        ("markdown", "# Title"),
        ("code", "from pathlib import Path\nPath('value.txt').read_text()"),
        ("code", "class Shown:\n    def _repr_html_(self):\n        return '<b>shown</b>'\nShown()"),
    ]
    text = json.dumps({"cells": [{"cell_type": kind, "source": source} for kind, source in sources]})
    shown = pages.notebook(text, tmp_path)
    assert shown.startswith("# Title\n\n```python\nfrom pathlib import Path\n")
    assert "```\n\n```text\n'7'\n```\n\n```python\nclass Shown:" in shown
    assert shown.endswith('Shown()\n```\n\n```{raw} html\n<div class="cell-output">\n<b>shown</b></div>\n```\n')


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A built site of two pages without a fault."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="x.css"><a href="sub/page.html#part">on</a><a href="https://example.org">out</a>'
    )
    (tmp_path / "sub" / "page.html").write_text(
        '<h1 id="part">Page</h1><a href="../index.html">back</a><a href="#">up</a>'
    )
    (tmp_path / "x.css").write_text("b { background: url(x.png); }")
    return tmp_path


def faults(site: Path) -> list[str]:
    return list(build.Site(site).faults())


def test_a_site_may_link_to_others_and_to_its_own_pages(site: Path) -> None:
    assert faults(site) == []


@pytest.mark.parametrize("address", ["none.html", "page.html#none", "#none", "..", "/page.html"])
def test_a_link_that_leads_nowhere_is_a_fault(site: Path, address: str) -> None:
    with (site / "sub" / "page.html").open("a") as page:
        page.write(f'<a href="{address}">x</a>')
    assert faults(site) == [f"sub/page.html: {address} leads nowhere"]


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://example.org/x.js"></script>', '<img src="//example.org/x.js">',
        '<link rel="stylesheet" href="https://example.org/x.js">', "<style>@import url(https://example.org/x.js)</style>",
    ],
)  # fmt: skip
def test_what_a_page_loads_from_another_site_is_a_fault(site: Path, element: str) -> None:
    with (site / "index.html").open("a") as page:
        page.write(element)
    (fault,) = faults(site)
    assert fault.startswith("index.html: ")
    assert fault.endswith("example.org/x.js is loaded from another site")


def test_what_a_style_loads_from_another_site_is_a_fault(site: Path) -> None:
    (site / "x.css").write_text("@font-face { src: url('https://example.org/x.woff2'); }")
    assert faults(site) == ["x.css: https://example.org/x.woff2 is loaded from another site"]


def test_ci_builds_the_site() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert ".venv/bin/python docs/site/build.py" in lines
