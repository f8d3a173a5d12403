"""Files of fitted states, in the user cache and in the checkpoints that plugins ship.

A state is one zip file, `<key>.zip`, with `device.state`, `edge.state` and `info.json`; the key is the fit key. Equal
states are equal files. While a fit runs, and after an interruption, the cache also has `<key>-<data>.part` with the
last bytes that the fit saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecbench.descriptions.codec_info import CodecInfo
from codecbench.errors import DataError, PluginError
from codecbench.results.cell import digest
from codecbench.system.files import replace_file

STATES = "states"
"""The folder of fitted states in a cache folder."""

_MEMBERS = ("device.state", "edge.state", "info.json")
_SPENT = struct.Struct("<d")


@dataclass(frozen=True)
class FittedState:
    """The states that the two sides restore, and the seconds of the fit (None if nothing was fitted).

    `about` describes the state for people: workload, split, codec, version, point, seed, and more. `data_hash` is of a
    few of the samples that it was fitted on; None if that is not known.
    """

    device: bytes = b""
    edge: bytes = b""
    fit_s: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)
    data_hash: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PartialFit:
    """The last save of an unfinished fit, and the seconds spent until then, all interrupted fits included."""

    saved: bytes
    spent_s: float


def fit_key(weights_sha256: str, fit_set: str, split: str, codec: CodecInfo, point: dict[str, Any], seed: int) -> str:
    """Return the key of a fitted state: a hash of weights, training data, split, codec, version, point and seed.

    Arguments that the codec's fit does not depend on are left out.
    """
    return digest([weights_sha256, fit_set, split, codec.name, codec.version, codec.fitted_point(point), seed])[:32]


def cache_folder() -> Path:
    """Return the folder of this user's fitted states: in the folder that `CODECBENCH_CACHE` names, or the user's cache.

    Without a home folder, which a user of a container may lack, it is a folder that cannot be made.
    """
    named = os.environ.get("CODECBENCH_CACHE")
    if named:
        return Path(named) / STATES
    import platformdirs

    found = platformdirs.user_cache_path("codecbench") / STATES
    return Path(os.devnull) / STATES if found.parts[0] == "~" else found


def find(codec: CodecInfo, key: str, cache: Path | None = None) -> FittedState | None:
    """Return the intact state of a key from `cache` (the user's) or else from the codec's checkpoints, or None."""
    cached = read(cache or cache_folder(), key)
    if cached is not None or codec.checkpoints is None:
        return cached
    if codec.checkpoints_folder is None:
        raise PluginError(f"codec {codec.name!r}: checkpoints {codec.checkpoints!r} name no package")
    return read(Path(codec.checkpoints_folder), key)


def keep(key: str, state: FittedState, folder: Path | None = None) -> Path:
    """Write a state to a folder, by default the user cache, atomically. Raises DataError if it cannot be written."""
    path = (cache_folder() if folder is None else folder) / f"{key}.zip"
    keep_file(path, _packed(state))
    return path


def keep_file(path: Path, content: bytes) -> None:
    """Write a file of states atomically, and the folders around it. Raises DataError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise DataError(
            f"cannot write to {path.parent} ({error.strerror}); make room or choose another folder"
        ) from error


def keep_partial(key: str, partial: PartialFit, cache: Path | None = None) -> None:
    """Write what a fit saved to `cache` (the user's), atomically, for the next fit of that key.

    Raises DataError if it cannot be written.
    """
    keep_file(_partial_path(key, cache), _SPENT.pack(partial.spent_s) + partial.saved)


def read_partial(key: str, cache: Path | None = None) -> PartialFit | None:
    """Return the last save of an unfinished fit of that key, or None."""
    try:
        content = _partial_path(key, cache).read_bytes()
        (spent_s,) = _SPENT.unpack_from(content)
    except (OSError, struct.error):
        return None
    return PartialFit(content[_SPENT.size :], spent_s) if math.isfinite(spent_s) and spent_s >= 0 else None


def drop_partial(key: str, cache: Path | None = None) -> None:
    """Remove the save of an unfinished fit of that key, if there is one and it can be removed."""
    with suppress(OSError):
        _partial_path(key, cache).unlink(missing_ok=True)


def _partial_path(key: str, cache: Path | None) -> Path:
    return (cache or cache_folder()) / f"{key}.part"


def read(folder: Path, key: str) -> FittedState | None:
    """Return the state of that key in a folder, or None if it is missing or damaged."""
    try:
        return unpacked((folder / f"{key}.zip").read_bytes())
    except OSError:
        return None


def unpacked(content: bytes) -> FittedState | None:
    """Return the state in the content of its file, or None if it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            device, edge, text = (packed.read(name) for name in _MEMBERS)
        info = json.loads(text)
    except Exception:  # a damaged file makes zipfile raise zlib.error, EOFError, RuntimeError and others
        return None
    intact = isinstance(info, dict) and info.get("sha256") == _sum(device, edge)
    if not intact:
        return None
    return FittedState(device, edge, info.get("fit_s"), info.get("about") or {}, info.get("data_hash"))


def _packed(state: FittedState) -> bytes:
    info = {"about": dict(state.about), "fit_s": state.fit_s, "sha256": _sum(state.device, state.edge)}
    if state.data_hash is not None:
        info["data_hash"] = state.data_hash
    contents = (state.device, state.edge, json.dumps(info, indent=1).encode() + b"\n")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in zip(_MEMBERS, contents, strict=True):
            # A ZipInfo made from a name has a fixed date, so that equal states are equal files.
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _sum(device: bytes, edge: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(device).digest() + hashlib.sha256(edge).digest()).hexdigest()
