"""Pages whose files and commands are carried out: what they show is held against what is printed."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from support.prepared import PreparedServer

LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_TIME = re.compile(r"^\d+:\d\d:\d\d ", re.MULTILINE)
"""The time of a line of progress."""


class Step(NamedTuple):
    """A file with its content, or a command with what the page shows of its output."""

    kind: Literal["file", "command"]
    name: str
    content: str


def steps(page: str) -> list[Step]:
    """Every file and command of a page, in the order of the text."""
    found = []
    for language, name, body in re.findall(
        r"^```(python|toml|console)(?: (\S+))?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        if language != "console":
            found.append(Step("file", name, body))
        else:
            commands = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
            found += [Step("command", *command.split("\n", 1)) for command in commands]
    return found


def run(command: str, folder: Path, server: PreparedServer) -> subprocess.CompletedProcess[str]:
    """A `codecbench ...` command as a shell in that folder would run it, its two outputs in one."""
    program, *arguments = shlex.split(command)
    assert program == "codecbench"
    environment = {**os.environ, "HOME": str(folder), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return server.run(*arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def carry_out(page: str, folder: Path, server: PreparedServer, failing: str | None = None) -> list[str]:
    """Write the files of a page and run its commands; return what they printed.

    A command ends with status 1 if the page shows the text `failing`, else with 0.
    """
    outputs = []
    for step in steps(page):
        if step.kind == "file":
            (folder / step.name).write_text(step.content)
            continue
        done = run(step.name, folder, server)
        outputs.append(done.stdout)
        shown, printed = (_TIME.sub("0:00:00 ", text) for text in (step.content, done.stdout))
        assert doctest.OutputChecker().check_output(shown, printed, LOOSE), f"{step.name}\n{done.stdout}"
        expected = 1 if failing is not None and failing in step.content else 0
        assert done.returncode == expected, f"{step.name}\n{done.stdout}"
    return outputs
