"""Build the site of the documentation, strictly, and check it.

    python docs/site/build.py [FOLDER]

FOLDER is build/site by default. Needs the extra `docs`. Fails on any warning of Sphinx, such as a link to a page or to
a heading that is not there; on any link in the built pages that leads nowhere; and on anything that a page would load
from another site. Addresses of other sites are not visited.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]

_ADDRESSES = ("href", "src", "data", "poster")
_CSS_ADDRESS = re.compile(r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """The anchors, the links and the loaded addresses of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[str] = []
        self.loaded: list[str] = _CSS_ADDRESS.findall(text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what the element is called and where it points to."""
        for name, value in attrs:
            if name == "id" or (name, tag) == ("name", "a"):
                self.anchors.add(value or "")
            elif name in _ADDRESSES and value:
                (self.links if tag == "a" else self.loaded).append(value)


class Site:
    """The files of a built site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pages(self) -> dict[Path, Page]:
        """The HTML pages by their files."""
        return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(self.folder.rglob("*.html"))}

    def faults(self) -> Iterator[str]:
        """Yield a line for each link that leads nowhere and each address of another site that is loaded."""
        for path, page in self.pages.items():
            name = path.relative_to(self.folder)
            for address in page.links + page.loaded:
                parts = urlsplit(address)
                if (
                    not parts.scheme
                    and not parts.netloc
                    and not self._leads_somewhere(path, parts.path, parts.fragment)
                ):
                    yield f"{name}: {address} leads nowhere"
            for address in page.loaded:
                if urlsplit(address).netloc:
                    yield f"{name}: {address} is loaded from another site"
        for path in sorted(self.folder.rglob("*.css")):
            for address in _CSS_ADDRESS.findall(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(self.folder)}: {address} is loaded from another site"

    def _leads_somewhere(self, page: Path, path: str, fragment: str) -> bool:
        target = (page.parent / unquote(path)).resolve() if path else page
        if target not in self.pages:
            return target.is_file()
        return unquote(fragment) in self.pages[target].anchors


def main(arguments: Sequence[str]) -> int:
    """Build and check the site; return 0 if there is nothing to say."""
    from sphinx.cmd.build import build_main

    folder = Path(arguments[0] if arguments else ROOT / "build" / "site").resolve()
    configuration = str(Path(__file__).parent)
    status = build_main(["-q", "-W", "--keep-going", "-j", "auto", "-c", configuration, str(ROOT), str(folder)])
    site = Site(folder)
    faults = list(site.faults()) if status == 0 else []
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if not status and not faults:
        sys.stdout.write(f"{folder}: {len(site.pages)} pages\n")
    return status or bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
