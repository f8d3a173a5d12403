"""The versions of software that crews have to share with the main process."""

from __future__ import annotations

from collections.abc import Mapping

import codecbench
from codecbench.errors import UsageError
from codecbench.harness.provenance import machine


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise UsageError if codecbench or a library has another version here than in the main process."""
    for name, version in expected.items():
        own = versions().get(name, "none")
        if own != version:
            raise UsageError(f"{name} is {own} where a crew runs, and {version} here; install the same version there")


def versions() -> dict[str, str]:
    """Return the versions of codecbench, of Python and of the libraries that results depend on."""
    here = machine()
    python = ".".join(here["python"].split(".")[:2])
    return {"codecbench": codecbench.__version__, "Python": python, **here["packages"]}
