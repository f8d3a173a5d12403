"""The sizes in which figures are drawn: for a page of a paper, and for a slide."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class PageSize:
    """The widths of a page and of a column in millimetres, panels side by side, and dots an inch of a PNG.

    All text has the same size, so a narrower page has larger text once a figure fills a slide.
    """

    page_mm: float
    column_mm: float
    curve_panels: int
    bar_panels: int
    dpi: float


PAPER = PageSize(page_mm=180.0, column_mm=88.0, curve_panels=3, bar_panels=5, dpi=200.0)
"""The widths of common two-column papers."""

TALK = PageSize(page_mm=150.0, column_mm=88.0, curve_panels=3, bar_panels=3, dpi=320.0)
"""A slide: on one of 254 mm, text has 12 points."""

SIZES = MappingProxyType({"paper": PAPER, "talk": TALK})
