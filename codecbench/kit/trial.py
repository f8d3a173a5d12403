"""The trial of a payload that no encoder made: what it does to a decoder in a process of its own, within the limits.

The limits are those of the contract, set by what the decoder does with valid payloads. `codecbench.kit.damage` makes
the payloads. Importing this module does not import torch.
"""

from __future__ import annotations

from codecbench.errors import CodecFailure, FailureCode, PayloadError, WorkerDied
from codecbench.kit.cases import Case
from codecbench.kit.runner import open_side
from codecbench.measure import Deadline, process_cpu_s, process_status_bytes
from codecbench.workers.client import EdgeClient

HANG_FACTOR = 3.0
HANG_SLACK_S = 2.0
IDLE_FACTOR = 20.0
MEMORY_FACTOR = 1.5
MEMORY_TENSORS = 16
MEMORY_SLACK_BYTES = 64 << 20
"""What a process's address space may grow by whatever a codec does: allocators reserve in steps of this order."""


class Trial:
    """Tries payloads on a fresh instance of a case's codec, in an edge process.

    The instance first decodes the case's own payloads, one by one; that sets the limits. Processor time: HANG_FACTOR
    times a valid decode and HANG_SLACK_S. Address space, over all payloads tried: MEMORY_FACTOR times what the valid
    ones take, MEMORY_TENSORS times the tensor and MEMORY_SLACK_BYTES.
    """

    def __init__(self, edge: EdgeClient, case: Case) -> None:
        self.edge = edge
        self._handle = open_side(edge, case, "edge")
        before_bytes = process_status_bytes("VmSize", edge.pid)
        before_s = process_cpu_s(edge.pid)
        edge.decode_payloads(self._handle, case.payloads, batched=False)
        self._limit_s = HANG_FACTOR * (process_cpu_s(edge.pid) - before_s) / len(case.payloads) + HANG_SLACK_S
        self._before_bytes = before_bytes or 0
        self._limit_bytes: int | None = None
        if before_bytes is not None:
            valid_bytes = _peak_bytes(edge) - before_bytes
            slack_bytes = MEMORY_TENSORS * case.spec.nbytes + MEMORY_SLACK_BYTES
            self._limit_bytes = before_bytes + int(MEMORY_FACTOR * valid_bytes) + slack_bytes

    @property
    def sees_memory(self) -> bool:
        """Whether this system tells how much memory a process took."""
        return self._limit_bytes is not None

    def fault(self, payload: bytes) -> str | None:
        """What is wrong with how the payload was taken, or None. It may be refused, or decode to a fitting tensor.

        Closes the process after a hang and where memory went over the limit: a peak stays, so the next trial needs a
        process that nothing has swollen. After a crash it has ended by itself.
        """
        fault = self._answer_fault(payload)
        if fault is not None or self._limit_bytes is None:
            return fault
        peak_bytes = _peak_bytes(self.edge)
        if peak_bytes <= self._limit_bytes:
            return None
        self.edge.close()
        return f"decode allocates {peak_bytes - self._before_bytes >> 20} MiB; check sizes before use"

    def _answer_fault(self, payload: bytes) -> str | None:
        try:
            self.edge.start_decode_payloads(self._handle, [payload], batched=False)
            if self._hangs():
                self.edge.close()
                return f"decode hangs: no answer after {self._limit_s:.1f} s of processor time"
            self.edge.finish_decode_payloads()
        except PayloadError as error:
            no_memory = error.code == FailureCode.NO_MEMORY
            return f"decode asks for more memory than there is ({error})" if no_memory else None
        except CodecFailure as error:
            # Altered float32 values may be NaN in a tensor that is else as it should be.
            return None if error.code == FailureCode.NOT_FINITE else str(error)
        except WorkerDied as error:
            return f"decode ends the process: {error}"
        return None

    def _hangs(self) -> bool:
        """Whether the answer takes more processor time than the limit, or IDLE_FACTOR times that on the clock.

        Processor time is what counts: a busy machine makes no codec hang. The clock catches one that sleeps.
        """
        if self.edge.has_answer(0.05):
            return False
        began_s, deadline = process_cpu_s(self.edge.pid), Deadline(IDLE_FACTOR * self._limit_s)
        while not self.edge.has_answer(0.05):
            if process_cpu_s(self.edge.pid) - began_s > self._limit_s or deadline.remaining_s() == 0:
                return True
        return False


def _peak_bytes(edge: EdgeClient) -> int:
    return process_status_bytes("VmPeak", edge.pid) or 0
