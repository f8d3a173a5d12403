"""Tar archives from elsewhere, unpacked so that nothing is written outside of a folder."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from pathlib import Path

from codecbench.errors import DataError


def unpack_tar(path: Path, folder: Path, *, kinds: str = "tar", advice: str = "") -> None:
    """Write the files of a tar archive to a folder, without links and devices.

    Raises DataError, naming the archive as the place of a `--from`, if it is none, is damaged, or has a file that would
    lie outside of the folder. The error says which `kinds` of archives a workload takes, and ends with its advice.
    """
    # Early versions of Python 3.11 lack the filters of `tarfile.extractall`.
    root = folder.resolve()
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                target = (root / member.name).resolve()
                if not target.is_relative_to(root):
                    raise tarfile.TarError(f"{member.name} would be written outside of the folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        end = f"; {advice}" if advice else ""
        raise DataError(f"--from {path} does not unpack as a {kinds} archive: {error}{end}") from error
