"""The signals that end a command, and their handlers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from codecbench.system.stopping import stopped_by_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the handlers of the signals back after a with block, and forget those that it received."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    with stopped_by_signals():
        pass  # forgets the signals of the test
    for number, handler in before.items():
        signal.signal(number, handler)
