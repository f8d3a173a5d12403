"""Ties a worker's life to that of its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading


def end_with_parent(parent: int, *, watch: bool) -> None:
    """Make this process end with its parent, even while a codec hangs.

    Linux does it by itself. Elsewhere, and with `watch`, a thread looks for the parent every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if not watch:
        return

    def end_after_parent() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        os._exit(1)

    threading.Thread(target=end_after_parent, daemon=True).start()
