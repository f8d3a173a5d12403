"""Fitted codec states: found in the user cache, then in a plugin's checkpoints, else made by a fit.

A state is a folder `<key>/` with `device.state`, `edge.state` and `info.json`; the key is the fit key.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from codecbench.cell import digest
from codecbench.codec import Codec, DataError, PluginError


@dataclass(frozen=True)
class FittedState:
    """What both sides restore, and the seconds that the fit took (None where nothing was fitted)."""

    device: bytes = b""
    edge: bytes = b""
    fit_s: float | None = None


def fit_key(weights_sha256: str, fit_set: str, split: str, codec: type[Codec], point: dict[str, Any], seed: int) -> str:
    """The name of a fitted state: workload weights, training data, split, codec, version, point and seed."""
    return digest([weights_sha256, fit_set, split, codec.name, codec.version, point, seed])[:32]


def cache_folder() -> Path:
    """Where fitted states are kept for this user."""
    import platformdirs

    return platformdirs.user_cache_path("codecbench") / "states"


def find(codec: type[Codec], key: str) -> FittedState | None:
    """The state of that key from the user cache or the codec's shipped checkpoints; None where neither has it whole."""
    cached = _read(cache_folder() / key)
    if cached is not None or codec.checkpoints is None:
        return cached
    package, _, folder = codec.checkpoints.partition(":")
    try:
        return _read(Path(str(files(package))) / folder / key)
    except ImportError as error:
        raise PluginError(f"codec {codec.name!r}: checkpoints {codec.checkpoints!r} name no package") from error


def keep(key: str, state: FittedState) -> None:
    """Put a state into the user cache, whole or not at all. Raises DataError where the cache is not writable."""
    parent = cache_folder()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            whole = Path(folder) / key
            whole.mkdir()
            (whole / "device.state").write_bytes(state.device)
            (whole / "edge.state").write_bytes(state.edge)
            info = {"fit_s": state.fit_s, "sha256": _sum(state.device, state.edge)}
            (whole / "info.json").write_text(json.dumps(info) + "\n")
            shutil.rmtree(parent / key, ignore_errors=True)
            whole.replace(parent / key)
    except OSError as error:
        raise DataError(f"cannot write to {parent} ({error.strerror}); make room or set XDG_CACHE_HOME") from error


def _read(folder: Path) -> FittedState | None:
    try:
        info = json.loads((folder / "info.json").read_text())
        device, edge = (folder / "device.state").read_bytes(), (folder / "edge.state").read_bytes()
    except (OSError, ValueError):
        return None
    whole = isinstance(info, dict) and info.get("sha256") == _sum(device, edge)
    return FittedState(device, edge, info.get("fit_s")) if whole else None


def _sum(device: bytes, edge: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(device).digest() + hashlib.sha256(edge).digest()).hexdigest()
