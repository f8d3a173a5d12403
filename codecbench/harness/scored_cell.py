"""A cell of a run with the outcomes so far, and what later passes have to find again: payloads and decoded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.isolation.seal import Isolation
from codecbench.results.digests import PayloadChain, payload_sha256, tensor_sha256
from codecbench.results.outcomes import Columns, joined
from codecbench.results.record import Samples


@dataclass
class SeenSample:
    """Digests of a sample's payload and decoded tensor in the accuracy pass, and that tensor if it was kept."""

    payload_sha256: str
    tensor_sha256: str
    tensor: NDArray[Any] | None = None


@dataclass
class ScoredCell:
    """A cell in its passes. `isolation` is what held in its codec processes; None before one was open."""

    cell: PlannedCell
    state: FittedState
    chain: PayloadChain = field(default_factory=PayloadChain)
    seen: dict[int, SeenSample] = field(default_factory=dict)
    isolation: Isolation | None = None
    _parts: list[Columns] = field(default_factory=list)
    digested: Sequence[int] = ()
    """The positions of the test samples whose digests a record holds."""
    raw_bytes: int = 0
    """Bytes of the test samples' activations so far."""
    samples: Samples | None = None
    """The file of the samples so far."""
    rows: int = 0
    """The samples that are scored, in the order of the pass."""
    resumed: bool = False
    """True if some of them were scored by an earlier run, which kept digests only."""

    @property
    def id(self) -> str:
        """The cell's identifier, a hash of its key."""
        return self.cell.key.cell

    @property
    def columns(self) -> Columns:
        """The per-sample columns so far."""
        return joined(self._parts)

    def add(self, columns: Columns) -> None:
        """Append the columns of the next samples."""
        self._parts.append(columns)
        self.rows += len(columns["payload_bytes"])

    def see(self, position: int, payload: bytes, decoded: NDArray[Any], *, keep: bool) -> None:
        """Remember a test sample's payload and decoded tensor, for the comparison with a new instance."""
        self.seen[position] = SeenSample(
            payload_sha256(payload), tensor_sha256(decoded), decoded.copy() if keep else None
        )

    def digests(self) -> list[tuple[int, SeenSample]]:
        """Return what was seen of the samples whose digests a record holds, by position."""
        return [(at, self.seen[at]) for at in sorted(self.digested) if at in self.seen]

    def progress(self) -> dict[str, Any]:
        """Return what a later run needs to continue, as plain values."""
        seen = {str(at): [found.payload_sha256, found.tensor_sha256] for at, found in self.digests()}
        isolation = None if self.isolation is None else self.isolation.to_json()
        return {
            "chain": self.chain.hex, "seen": seen, "isolation": isolation, "raw_bytes": self.raw_bytes,
        }  # fmt: skip

    def resume(self, columns: Columns, progress: Mapping[str, Any], samples: Samples) -> None:
        """Continue from the columns and the `progress` of an earlier run. Raises KeyError or ValueError for others."""
        self.chain = PayloadChain.from_hex(progress["chain"])
        self.seen = {int(at): SeenSample(*digests) for at, digests in progress["seen"].items()}
        self.isolation = Isolation.from_json(progress["isolation"])
        self.raw_bytes = progress["raw_bytes"]
        self.resumed, self.samples = True, samples
        self.add(columns)

    def forget(self) -> None:
        """Forget all outcomes, to measure the cell anew."""
        self._parts.clear()
        self.seen.clear()
        self.rows, self.raw_bytes, self.chain, self.resumed = 0, 0, PayloadChain(), False
