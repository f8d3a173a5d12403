"""The interface of executors: units go in, outcomes come back in any order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from codecbench.errors import CodecbenchError, WorkerDied
from codecbench.workers.protocol import Reply, pack_frame, unpack_error, unpack_frame

NO_UNIT = -1
"""The number of an error that concerns all units."""
LOST = "lost"
"""The field of a frame that stands for the reply of a crew that was lost, with the reason."""


@dataclass(frozen=True, eq=False)
class UnitRequest:
    """A unit as it crosses to the crew that runs it: a number, values that JSON holds, and byte strings."""

    number: int
    fields: dict[str, Any]
    blobs: Sequence[bytes]

    def to_frame(self) -> bytes:
        """Return the frame that asks a crew to run the unit."""
        return pack_frame({**self.fields, "op": "score_unit"}, self.blobs)


@dataclass(frozen=True, eq=False)
class UnitOutcome:
    """The outcome of a unit: a reply, or the reason why its crew was lost, or an error that ends the run.

    `ended_crews` is the number of crews that were lost with it.
    """

    number: int
    reply: Reply | None = None
    lost: str | None = None
    error: CodecbenchError | None = None
    ended_crews: int = 1


class Executor(Protocol):
    """Runs units somewhere, some at a time. Units of a lost crew are not run again: `UnitOutcome.lost` says so."""

    name: str
    """The place where units run, for people."""

    @property
    def slots(self) -> int:
        """The number of units that run at once."""

    @property
    def capacity(self) -> int:
        """The number of units that should be submitted at once, so that no crew waits for work."""

    def submit(self, request: UnitRequest) -> None:
        """Take a unit. Raises CodecbenchError if that is not possible any more."""

    def wait(self) -> list[UnitOutcome]:
        """Wait until a submitted unit has an outcome, and return those that are there."""

    def close(self) -> None:
        """End all crews."""


def lost_frame(error: WorkerDied) -> bytes:
    """Return the frame that stands for the reply of a lost crew."""
    return pack_frame({LOST: str(error)})


def outcome_of(number: int, frame: bytes) -> UnitOutcome:
    """Return the outcome of a unit whose crew has sent this frame."""
    try:
        reply = unpack_frame(frame)
        error = unpack_error(reply)
    except (struct.error, ValueError, KeyError, TypeError) as fault:
        return UnitOutcome(number, lost=f"what came back cannot be read ({fault})")
    if LOST in reply.fields:
        return UnitOutcome(number, lost=str(reply.fields[LOST]))
    return UnitOutcome(number, error=error) if error is not None else UnitOutcome(number, reply=reply)
