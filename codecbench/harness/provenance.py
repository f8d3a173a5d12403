"""The provenance of records: machine, software, what they were made of, and the command that repeats them."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import codecbench
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import RunConfig
from codecbench.isolation.seal import Isolation
from codecbench.measure import cores, utc_now
from codecbench.results.cell import codec_label
from codecbench.results.record import Provenance, Record, WorkloadGroup

PACKAGES = ("numpy", "pillow", "scikit-image", "torch")

_NAMES = {
    "source_hash": "the codec's source", "weights_hash": "the model's weights",
    "workload_source_hash": "the workload's source", "data_hash": "the workload's data",
}  # fmt: skip
"""The hashes that results are current by, and their names in messages."""


class RunProvenance:
    """Makes the provenance of a run's records, and compares what earlier results were made of with what is here now.

    `data_hash` is of inputs and targets of a few samples, see `codecbench.descriptions.data_hash`.
    """

    def __init__(self, config: RunConfig, workload: WorkloadInfo, *, data_hash: str, test_samples: int) -> None:
        self.config = config
        self.weights_sha256 = workload.weights_sha256
        self.test_samples = test_samples
        self.workload = WorkloadGroup(
            source_hash=workload.source_hash, data_hash=data_hash, budget=workload.budget,
            training_s=workload.training_s, training_note=workload.training_note,
        )  # fmt: skip
        self.started_utc = utc_now()

    def of(self, cell: PlannedCell, isolation: Isolation) -> Provenance:
        """Return the provenance of a record of this cell that is made now, with the isolation that it had."""
        commit, dirty = git_state()
        return Provenance(
            codecbench=codecbench.__version__, plugin=cell.codec.plugin,
            source_hash=cell.codec.source_hash, weights_hash=self.weights_sha256, threads=1,
            torch_device=self.config.torch_device, git=commit, dirty=dirty, command=self._command(cell),
            started_utc=self.started_utc, isolation=isolation.label, isolation_detail=isolation.detail,
            mixed_plugin=cell.codec.mixed_plugin, **machine(),
        )  # fmt: skip

    def sources(self, cell: PlannedCell) -> dict[str, str]:
        """Return the hashes that `changes` compares, as plain values."""
        return {
            "source_hash": cell.codec.source_hash, "weights_hash": self.weights_sha256,
            "workload_source_hash": self.workload.source_hash, "data_hash": self.workload.data_hash,
        }  # fmt: skip

    def changes(self, cell: PlannedCell, earlier: Mapping[str, Any]) -> str | None:
        """Return why results with these hashes are not current, in words; None if they are."""
        found = changed(self.sources(cell), earlier)
        if found is not None:
            return found
        unknown = [name for field, name in _NAMES.items() if earlier.get(field) is None]
        return f"it was made before codecbench recorded {' and '.join(unknown)}" if unknown else None

    def _command(self, cell: PlannedCell) -> str:
        """Return the command that repeats this cell, for a POSIX shell in the folder of the plugin files.

        Files are named without their folders, and options only where they are not the defaults.
        """
        key, config = cell.key, self.config
        described = config.description
        workload = ["--workload", key.workload] if described is None else described.portable().options()
        words = ["codecbench", "run", *workload, "--codec", codec_label(key.codec, key.point)]
        words += ["--split", key.split, "--preset", config.preset, "--samples", str(self.test_samples)]
        words += ["--seed", str(key.seed)]
        for name in names_of(config.plugin):
            words += ["--plugin", name]
        words += ["--data-dir", config.data_dir.resolve().name] if config.data_dir is not None else []
        for option in ("torch_device", "timeout_s", "max_fit_s"):
            value = getattr(config, option)
            if value != RunConfig.model_fields[option].default:
                words += [f"--{option.replace('_', '-')}", str(value)]
        return shlex.join(words)


def names_of(files: Sequence[Path]) -> list[str]:
    """Return each file's name, with as many of its folders as tell it from another file of that name."""
    found = []
    for file in files:
        parts = file.resolve().parts
        others = [other.resolve().parts for other in files if other.resolve() != file.resolve()]
        count = next(n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
        found.append("/".join(parts[-count:]))
    return found


def changed(now: Mapping[str, str], earlier: Mapping[str, Any]) -> str | None:
    """Return in words which of these hashes are known to have been others earlier; None if none is."""
    fields = [field for field in _NAMES if field in now and earlier.get(field) not in (None, now[field])]
    names = [_NAMES[field] for field in fields]
    if not names:
        return None
    verb = "has" if len(names) == 1 and fields != ["weights_hash"] else "have"
    return f"{' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))} {verb} changed"


def sources_of(record: Record) -> dict[str, str | None]:
    """Return the hashes of what a record was made of, for `RunProvenance.changes`; None where it does not say."""
    workload = record.workload
    return {
        "source_hash": record.provenance.source_hash, "weights_hash": record.provenance.weights_hash,
        "workload_source_hash": workload.source_hash if workload else None,
        "data_hash": workload.data_hash if workload else None,
    }  # fmt: skip


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Return the processor's name as the system states it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
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
