"""What a record says of where it was made."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import codecbench
from codecbench.measure import cores

PACKAGES = ("numpy", "pillow", "scikit-image", "torch")


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """The provenance fields that describe machine and software: no host name, no user, no path."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(), "packages": packages, "cpu": cpu_name(), "cores": cores(),
        "os": f"{platform.system()} {platform.release().split('-')[0]}",
    }  # fmt: skip


@lru_cache(maxsize=1)
def git_state() -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the checkout that codecbench runs from, or (None, None) outside one."""
    here = Path(codecbench.__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            completed = subprocess.run(  # noqa: S603 - fixed arguments
                ["git", "-C", str(here), *arguments],  # noqa: S607 - git from the PATH is what the user has
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return completed.stdout.strip()

    # An installed copy inside somebody else's repository must not borrow its commit.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit, changes = (
        git("rev-parse", "HEAD"),
        git("status", "--porcelain", "--untracked-files=no", "--", ".", "../plugins", "../datasets"),
    )
    return commit, None if changes is None else bool(changes)
