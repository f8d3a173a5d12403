"""Parts of a page: unique ids, templates that escape, and colours that can be read."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from codecbench.report.page import Ids


def test_templates_never_go_around_the_escaping() -> None:
    templates = [
        each for each in files("codecbench").joinpath("report/templates").iterdir() if each.name.endswith(".html")
    ]
    assert len(templates) > 10
    for template in templates:
        assert not re.search(r"\|\s*safe|autoescape|Markup", template.read_text(encoding="utf-8")), template.name


def test_ids_are_unique_whatever_they_are_made_from() -> None:
    ids = Ids()
    names = ["main", "a", "a", "a b", "a-b", "a 2", "a-2", "", " ", "<", "A"]
    assert len({ids.fresh(name) for name in names}) == len(names)
    assert ids.of("x", "y") == ids.of("x", "y") != ids.of("x", "z")
    assert all(re.fullmatch(r"[a-z0-9._=~-]+", ids.fresh(name)) for name in names)


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
