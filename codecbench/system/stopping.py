"""Stops a command at Ctrl-C, SIGTERM and SIGHUP alike, so that it tidies up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_IGNORED = 3
"""Signals that are passed over while a command ends: a terminal that closes sends more than one."""


class Stopped(KeyboardInterrupt):
    """The command is to end.

    A class of its own: Python ends a process by SIGINT if KeyboardInterrupt itself has once left an `exec` of a text.
    """


class _Received:
    """The number of signals since the command began."""

    count = 0


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise Stopped in the block at one of the signals. Further ones are ignored while the command ends.

    Any error after a signal becomes Stopped: what is torn down in the middle of its work may fail. A signal
    that the parent has ignored, as `nohup` does, stays ignored.
    """
    _Received.count = 0
    before = {}
    with suppress(ValueError):  # not in the main thread, where no handler can be set
        for number in _SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _stop)
    try:
        yield
    except Exception as error:
        if _Received.count:
            raise Stopped from error
        raise
    finally:
        if not _Received.count:  # else the program ends now, and what it still tidies up is to be finished
            for number, handler in before.items():
                signal.signal(number, handler)


def check_stopped() -> None:
    """Raise Stopped if the command is to end: where an error of a torn-down part may have replaced it."""
    if _Received.count:
        raise Stopped


def _stop(_number: int, _frame: FrameType | None) -> None:
    _Received.count += 1
    if _Received.count == 1 or _Received.count > 1 + _IGNORED:
        raise Stopped
