"""The user's cache of fitted states, and what stands in for it where it cannot be written to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from codecbench.descriptions.codec_info import CodecInfo
from codecbench.errors import DataError
from codecbench.fitting import states
from codecbench.fitting.states import FittedState, PartialFit
from codecbench.system.folders import make_folder


class StateCache:
    """Fitted states and saves of unfinished fits in `folder`, by default the user's cache.

    Where the folder cannot be written to, they are kept in a temporary folder until this process ends, and `log` gets
    one line about it.
    """

    def __init__(self, folder: Path | None, log: Callable[[str], None]) -> None:
        self.folder = states.cache_folder() if folder is None else folder / states.STATES
        self._log = log
        self._temporary: Path | None = None

    def require_writable(self) -> None:
        """Raise DataError if the folder cannot be written to: for a command that has to keep what it fits."""
        reason = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror
        if reason is None and not os.access(self.folder, os.W_OK):
            reason = "Permission denied"
        if reason is not None:
            raise DataError(f"cannot write to {self.folder} ({reason}); name another folder with --cache-dir")

    def find(self, codec: CodecInfo, key: str) -> FittedState | None:
        """Return the state of a key, from this cache or else from the codec's checkpoints, or None."""
        kept = states.read(self._temporary, key) if self._temporary is not None else None
        return kept or states.find(codec, key, self.folder)

    def keep(self, key: str, state: FittedState, *, required: bool = False) -> None:
        """Write a state. With `required`, raise DataError where it cannot be kept for later commands."""
        if self._temporary is None or required:
            try:
                states.keep(key, state, self.folder)
                return
            except DataError as error:
                if required:
                    raise
                self._say(error)
        states.keep(key, state, self._stand_in())

    def keep_partial(self, key: str, partial: PartialFit) -> None:
        """Write what a fit saved, for the next fit of that key."""
        if self._temporary is None:
            try:
                states.keep_partial(key, partial, self.folder)
                return
            except DataError as error:
                self._say(error)
        states.keep_partial(key, partial, self._stand_in())

    def read_partial(self, key: str) -> PartialFit | None:
        """Return the last save of an unfinished fit of that key, or None."""
        kept = states.read_partial(key, self._temporary) if self._temporary is not None else None
        return kept or states.read_partial(key, self.folder)

    def drop_partial(self, key: str) -> None:
        """Remove the save of an unfinished fit of that key, if there is one."""
        for folder in filter(None, (self.folder, self._temporary)):
            states.drop_partial(key, folder)

    def _stand_in(self) -> Path:
        if self._temporary is None:
            self._temporary = make_folder("states")
        return self._temporary

    def _say(self, error: DataError) -> None:
        cause = str(error).partition(";")[0]
        self._log(f"{cause}: fitted states are not kept for later runs; --cache-dir names another folder")
