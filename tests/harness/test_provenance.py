"""The provenance of a record: machine, software and commit, without names of users or hosts."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from codecbench import measure
from codecbench.harness import provenance


def test_the_machine_is_described_without_naming_it() -> None:
    machine = provenance.machine()
    assert set(machine) == {"python", "packages", "cpu", "cores", "os"}
    assert {"numpy", "torch"} <= set(machine["packages"])
    assert machine["cores"] == measure.cores() >= 1
    assert measure.memory_bytes() > 1 << 20
    text = str(machine)
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text


def test_the_commit_is_that_of_this_checkout_or_none() -> None:
    commit, dirty = provenance.git_state()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}", commit)
    assert (commit is None) == (dirty is None)
