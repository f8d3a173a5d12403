"""A device and an edge process set up for one workload and one split, replaced when a codec kills one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from codecbench.codec import TensorSpec
from codecbench.measure import cores
from codecbench.workers.client import Worker
from codecbench.workers.protocol import Reply, Role
from codecbench.workload import Subset

CHUNK = 128
"""Samples that travel and run together. The whole model runs in the same chunks, so its outputs compare bit for bit."""


@dataclass(frozen=True)
class WorkloadRef:
    """What a worker needs to set a workload up. The edge gets no data folder."""

    reference: str
    data_dir: Path | None
    torch_device: str

    def set_up(self, worker: Worker) -> Reply:
        """Build the workload's model in a worker; the reply lists the cuts and the weights' sum."""
        data_dir = str(self.data_dir.resolve()) if self.data_dir and worker.role != "edge" else ""
        fields = {"workload": self.reference, "data_dir": data_dir, "torch_device": self.torch_device}
        return worker.call("workload", fields)


def chunks(count: int) -> list[list[int]]:
    """Positions 0 to count - 1 in chunks."""
    return [list(range(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK)]


class Pair:
    """The two processes of a run, with the split they are set up for.

    `counts` says how many samples of each subset the device keeps activations of. `generation` rises whenever a
    process is replaced, which invalidates codec handles.
    """

    def __init__(self, workload: WorkloadRef, counts: Mapping[Subset, int]) -> None:
        self.workload = workload
        self.counts = counts
        self.generation = 0
        self.edge_threads = cores()
        self.cuts: dict[str, TensorSpec] = {}
        self.weights_sha256 = ""
        self.raw_bytes: dict[str, int] = {}
        self._workers: dict[Role, Worker] = {}
        self._split: str | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def device(self) -> Worker:
        """The device process, with this split's head and activations ready."""
        return self._worker("device")

    @property
    def edge(self) -> Worker:
        """The edge process, with this split's tail ready."""
        return self._worker("edge")

    def use_split(self, split: str) -> None:
        """Turn both processes to a split; the activations of the one before are removed."""
        self._split = split
        self.generation += 1
        for role, worker in self._workers.items():
            if worker.alive:
                self._prepare(role, worker)

    def replace(self) -> None:
        """End both processes, so that the next use starts fresh ones: nothing a bad codec left behind stays."""
        for worker in self._workers.values():
            worker.close()
        self.generation += 1

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        """One torch thread in both processes for the length of a block; else the edge has one for each core.

        The device has one but for heads and uncut models: it encodes while the edge works.
        """
        self.edge_threads = 1
        self.edge.call("threads", {"threads": 1})
        try:
            yield
        finally:
            self.edge_threads = cores()
            self.edge.call("threads", {"threads": cores()})

    @contextmanager
    def all_cores(self, worker: Worker) -> Iterator[None]:
        """A torch thread for each core in a device process, for the length of a block."""
        worker.call("threads", {"threads": cores()})
        yield
        if not worker.closed:
            worker.call("threads", {"threads": 1})

    def _worker(self, role: Role) -> Worker:
        worker = self._workers.get(role)
        if worker is None or not worker.alive:
            if worker is not None:
                worker.close()
                self.generation += 1
            worker = self._workers[role] = self._started(role)
        return worker

    def _started(self, role: Role) -> Worker:
        worker = Worker(role, threads=self.edge_threads if role == "edge" else 1)
        try:
            reply = self.workload.set_up(worker)
            self.cuts = {cut["name"]: TensorSpec.from_json(cut["spec"]) for cut in reply.fields["cuts"]}
            self.weights_sha256 = reply.fields["weights_sha256"]
            if self._split is not None:
                self._prepare(role, worker)
        except BaseException:
            worker.close()
            raise
        return worker

    def _prepare(self, role: Role, worker: Worker) -> None:
        assert self._split is not None
        worker.call("close_codecs")
        worker.call("split", {"split": self._split})
        if role == "device":
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="codecbench-activations-"))
            self.raw_bytes = run_heads(worker, self.cuts[self._split], self.counts, self._folder)


def run_heads(worker: Worker, spec: TensorSpec, counts: Mapping[Subset, int], folder: Path) -> dict[str, int]:
    """Let a worker keep the activations of the first samples of each subset; returns their bytes by subset."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    raw_bytes: dict[str, int] = {}
    first = True
    for subset, count in counts.items():
        for chunk, positions in enumerate(chunks(count)):
            fields = {
                "subset": subset, "chunk": chunk, "positions": positions, "folder": str(folder),
                "spec": spec.to_json(), "first": first,
            }  # fmt: skip
            reply = worker.call("head", fields, timeout_s=3600)
            raw_bytes[subset] = raw_bytes.get(subset, 0) + int(reply.fields["raw_bytes"])
            first = False
    return raw_bytes
