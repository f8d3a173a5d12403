"""Functions of Python's library that reach out of the process without an audit event, wrapped in a check."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

Check = Callable[[str, str], None]
"""Takes a function's name and a description of its object. Raises if the process is sealed."""

_CALLS: Final = {
    "_multiprocessing": ("sem_unlink",),
    "_posixshmem": ("shm_open", "shm_unlink"),
    "_posixsubprocess": ("fork_exec",),
    "signal": ("pidfd_send_signal",),
    "time": ("clock_settime", "clock_settime_ns"),
}
"""Functions by module. A name that this system or this version of Python does not have is left out."""
_SYSTEM_CALLS: Final = (
    "chroot", "copy_file_range", "memfd_create", "mkfifo", "mknod", "nice", "openpty", "pidfd_open", "posix_fadvise",
    "posix_fallocate", "posix_openpt", "sched_setaffinity", "sched_setparam", "sched_setscheduler", "sendfile",
    "setegid", "seteuid", "setgid", "setgroups", "setns", "setpgid", "setpgrp", "setpriority", "setregid", "setresgid",
    "setresuid", "setreuid", "setsid", "setuid", "splice", "tcsetpgrp", "unshare",
)  # fmt: skip
"""Functions of `os`, which has them from `posix`."""


def wrap_silent_calls(check: Check) -> None:
    """Replace the functions by ones that call `check` first. Names that other modules took before stay unchecked."""
    for module, names in {**_CALLS, "os": _SYSTEM_CALLS, "posix": _SYSTEM_CALLS}.items():
        for name in names:
            _wrap(module, name, check)
    _wrap_semaphore(check)


def _wrap(module_name: str, name: str, check: Check) -> None:
    try:
        module = importlib.import_module(module_name)
        unchecked: Callable[..., Any] = getattr(module, name)
    except (ImportError, AttributeError):
        return
    label = f"os.{name}" if module_name == "posix" else f"{module_name.lstrip('_')}.{name}"

    def checked(*args: Any, **kwargs: Any) -> Any:
        check(label, ", ".join(repr(a) for a in args)[:200])
        return unchecked(*args, **kwargs)

    setattr(module, name, checked)


def _wrap_semaphore(check: Check) -> None:
    """Put a check before the two ways to a named semaphore. `multiprocessing` looks the class up when it needs it."""
    try:
        module: Any = importlib.import_module("_multiprocessing")
        unchecked: Any = module.SemLock
    except (ImportError, AttributeError):
        return

    class SemLock(unchecked):  # type: ignore[misc]
        """A semaphore that is refused while the process is sealed."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            """Return a semaphore of the unchecked class."""
            check("multiprocessing.SemLock", ", ".join(repr(a) for a in args)[:200])
            return unchecked(*args, **kwargs)

        @staticmethod
        def _rebuild(*args: Any) -> Any:
            """Open a semaphore that exists."""
            check("multiprocessing.SemLock", ", ".join(repr(a) for a in args)[:200])
            return unchecked._rebuild(*args)

    module.SemLock = SemLock
