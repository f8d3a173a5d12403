"""The tutorial, done word by word: its files are written, its commands run, and what they print is what it shows."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from support.paths import DOCS

TUTORIAL = DOCS / "tutorial" / "first-codec.md"
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FAILING_CHECK = "check_extreme_values"


class Step(NamedTuple):
    """A file with its content, or a command with what the page shows of its output."""

    kind: Literal["file", "command"]
    name: str
    content: str


def steps(page: str) -> list[Step]:
    """Every file and command of a page, in the order of the text."""
    found = []
    for language, name, body in re.findall(
        r"^```(python|console)(?: (\S+))?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        if language == "python":
            found.append(Step("file", name, body))
        else:
            commands = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
            found += [Step("command", *command.split("\n", 1)) for command in commands]
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A `codecbench ...` command as a shell in that folder would run it, its two outputs in one."""
    program, *arguments = shlex.split(command)
    assert program == "codecbench"
    return subprocess.run(
        [sys.executable, "-m", "codecbench.cli.main", *arguments],
        cwd=folder, env={**os.environ, "HOME": str(folder), "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip


def row(output: str, label: str) -> str:
    """The line of a printed table that starts with this label."""
    (line,) = [line for line in output.splitlines() if line.startswith(label + " ")]
    return line


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    outputs = []
    for step in steps(TUTORIAL.read_text()):
        if step.kind == "file":
            (tmp_path / step.name).write_text(step.content)
            continue
        done = run(step.name, tmp_path)
        outputs.append(done.stdout)
        assert doctest.OutputChecker().check_output(step.content, done.stdout, LOOSE), f"{step.name}\n{done.stdout}"
        assert done.returncode == (1 if FAILING_CHECK in step.content else 0), f"{step.name}\n{done.stdout}"
    assert len(outputs) == 7
    shares = [
        float(re.search(r"\(([\d.]+)\)", row(output, "half"))[1]) for output in (outputs[2], outputs[5], outputs[6])
    ]
    assert shares[0] == 50
    assert shares[2] <= shares[1] < 50, "the knob saves bytes, and a greater budget never costs any"
