"""Signals that end a command: everything is tidied up, and no error of what is torn down is taken for another's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from support.signals import SIGNALS, kept_handlers

from codecbench.errors import WorkerDied
from codecbench.system.stopping import Stopped, check_stopped, stopped_by_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Puts the handlers of signals back."""
    with kept_handlers():
        yield


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_and_what_follows_is_tidied_up(number: signal.Signals) -> None:
    done = []
    with pytest.raises(Stopped), stopped_by_signals():  # noqa: PT012 - what is torn down
        try:
            send(number)
            done.append("went on")
        finally:
            send(signal.SIGHUP)
            send(signal.SIGTERM)
            done.append("tidied up")
    assert done == ["tidied up"]
    send(signal.SIGTERM)  # the program is still ending


def test_one_who_keeps_asking_is_heard() -> None:
    with pytest.raises(Stopped), stopped_by_signals():  # noqa: PT012 - what is torn down
        try:
            send(signal.SIGINT)
        except Stopped:
            for _ in range(3):
                send(signal.SIGINT)
        with pytest.raises(Stopped):
            send(signal.SIGINT)
        raise Stopped


def test_an_error_of_what_is_torn_down_is_the_interruption() -> None:
    with pytest.raises(Stopped), stopped_by_signals():  # noqa: PT012 - what is torn down
        try:
            send(signal.SIGTERM)
        finally:
            raise WorkerDied("the codec process was killed by SIGKILL")


def test_an_interruption_that_was_taken_for_an_error_is_found_again() -> None:
    with pytest.raises(Stopped), stopped_by_signals():  # noqa: PT012 - what is torn down
        check_stopped()
        try:
            try:
                send(signal.SIGTERM)
            finally:
                raise WorkerDied("the codec process was killed by SIGKILL")
        except WorkerDied:
            check_stopped()


def test_without_a_signal_errors_are_themselves_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(WorkerDied), stopped_by_signals():
        raise WorkerDied("by itself")
    with stopped_by_signals():
        check_stopped()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_the_parent_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopped_by_signals():
        send(signal.SIGHUP)
        check_stopped()
