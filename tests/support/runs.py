"""What tests of runs share: a reporter that keeps what it is told, and a pair of processes that outlives a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from codecbench.workers.pair import Pair


@dataclass
class Heard:
    """A reporter that keeps what it hears."""

    cells: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def plan(self, cells: int) -> None:
        self.cells = cells

    def stage(self, text: str) -> None:
        pass

    def working(self, text: str) -> None:
        pass

    def done(self, status: str, text: str) -> None:
        self.ended.append((status, text))

    def say(self, line: str) -> None:
        self.said.append(line)


class KeptPair(Pair):
    """A pair whose processes outlive the run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
