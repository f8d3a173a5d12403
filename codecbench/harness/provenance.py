"""The provenance of records: machine, software, source hashes, and the command that repeats the measurement."""

from __future__ import annotations

import inspect
import platform
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import codecbench
from codecbench.codec import Codec
from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import RunConfig
from codecbench.harness.source_hash import source_sha256
from codecbench.measure import cores, utc_now
from codecbench.results.cell import point_label
from codecbench.results.record import Provenance

PACKAGES = ("numpy", "pillow", "scikit-image", "torch")


class RunProvenance:
    """Makes the provenance of a run's records, and compares earlier results with the current sources."""

    def __init__(
        self, config: RunConfig, codecs: Iterable[type[Codec]], *, weights_sha256: str, test_samples: int
    ) -> None:
        self.config = config
        self.weights_sha256 = weights_sha256
        self.test_samples = test_samples
        self.started_utc = utc_now()
        self.source_hashes = {codec: source_sha256(codec) for codec in codecs}

    def of(self, cell: PlannedCell) -> Provenance:
        """Return the provenance of a record of this cell that is made now."""
        commit, dirty = git_state()
        return Provenance(
            codecbench=codecbench.__version__, plugin=_plugin_label(cell.codec),
            source_hash=self.source_hashes[cell.codec], weights_hash=self.weights_sha256, threads=1,
            torch_device=self.config.torch_device, git=commit, dirty=dirty, command=self._command(cell),
            started_utc=self.started_utc, **machine(),
        )  # fmt: skip

    def sources(self, cell: PlannedCell) -> dict[str, str]:
        """Return the hashes that `is_current` compares, as plain values."""
        return {"source_hash": self.source_hashes[cell.codec], "weights_hash": self.weights_sha256}

    def is_current(self, cell: PlannedCell, source_hash: str, weights_hash: str) -> bool:
        """True if results with these hashes come from the codec's current source and the current weights."""
        return source_hash == self.source_hashes[cell.codec] and weights_hash == self.weights_sha256

    def _command(self, cell: PlannedCell) -> str:
        """Return the command that repeats this cell. Plugin files are named without their folders."""
        key = cell.key
        codec = f"{key.codec}:{point_label(key.point)}" if key.point else key.codec
        parts = ["codecbench run", f"--workload {key.workload}", f"--codec {codec}", f"--split {key.split}"]
        parts += [f"--preset {self.config.preset}", f"--samples {self.test_samples}", f"--seed {key.seed}"]
        parts += [f"--plugin {path.name}" for path in self.config.plugin]
        parts += [f"--torch-device {self.config.torch_device}"] if self.config.torch_device != "cpu" else []
        return " ".join(parts)


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Return the processor's name as the system states it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """Return the provenance fields of machine and software: no host name, no user name, no path."""
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
    """Return the commit of codecbench's checkout and whether it has changes, or (None, None) outside a checkout."""
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

    # A copy that is installed inside another repository must not report that repository's commit.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit, changes = (
        git("rev-parse", "HEAD"),
        git("status", "--porcelain", "--untracked-files=no", "--", ".", "../plugins", "../datasets"),
    )
    return commit, None if changes is None else bool(changes)


@lru_cache
def _plugin_label(codec: type[Codec]) -> str:
    """Return the distribution, version and module of the codec, or the name of its single file."""
    top = codec.__module__.partition(".")[0]
    names = packages_distributions().get(top)
    if names:
        return f"{names[0]} {version(names[0])} ({codec.__module__})"
    return f"file {Path(inspect.getsourcefile(codec) or codec.__module__).name}"
