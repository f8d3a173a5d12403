"""The tutorial, done word by word: its files are written, its commands run, and what they print is what it shows."""

from __future__ import annotations

import re
from pathlib import Path

from support.pages import carry_out
from support.paths import DOCS
from support.prepared import PreparedServer

TUTORIAL = DOCS / "tutorial" / "first-codec.md"
FAILING_CHECK = "check_extreme_values"


def row(output: str, label: str) -> str:
    """The line of a printed table that starts with this label."""
    (line,) = [line for line in output.splitlines() if line.startswith(label + " ")]
    return line


def test_the_tutorial_does_what_it_says(tmp_path: Path, prepared_server: PreparedServer) -> None:
    outputs = carry_out(TUTORIAL.read_text(), tmp_path, prepared_server, failing=FAILING_CHECK)
    assert len(outputs) == 7
    shares = [
        float(re.search(r"\(([\d.]+)\)", row(output, "half"))[1]) for output in (outputs[2], outputs[5], outputs[6])
    ]
    assert shares[0] == 50
    assert shares[2] <= shares[1] < 50, "the knob saves bytes, and a greater budget never costs any"
