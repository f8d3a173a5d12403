"""Tries damaged payloads on a decoder in a worker process, and finds crashes, hangs and excessive memory.

The limits of time and memory follow from decoding valid payloads. `codecbench.kit.damage` makes the damaged ones.
Importing this module does not import torch.
"""

from __future__ import annotations

from codecbench.errors import CodecFailure, FailureCode, PayloadError, WorkerDied
from codecbench.kit.cases import KitCase
from codecbench.measure import Deadline, process_cpu_s, process_status_bytes
from codecbench.workers.codec_client import CodecClient

HANG_FACTOR = 3.0
HANG_SLACK_S = 2.0
IDLE_FACTOR = 20.0
MEMORY_FACTOR = 1.5
MEMORY_TENSORS = 16
MEMORY_SLACK_BYTES = 64 << 20
"""The growth of the address space that any codec may have: allocators reserve in steps of this order."""


class Trial:
    """Tries payloads on a case's codec in a decoder process of its own, which is open and has decoded nothing yet.

    The process first decodes the case's valid payloads, one by one, which sets the limits. Processor time:
    HANG_FACTOR times that of a valid decode, plus HANG_SLACK_S. Growth of the address space, over all payloads tried:
    MEMORY_FACTOR times that of the valid ones, plus MEMORY_TENSORS times the tensor, plus MEMORY_SLACK_BYTES.
    """

    def __init__(self, decoder: CodecClient, case: KitCase) -> None:
        self.decoder = decoder
        before_bytes = process_status_bytes("VmSize", decoder.pid)
        before_s = process_cpu_s(decoder.pid)
        decoder.decode_payloads(case.payloads, batched=False)
        self._limit_s = HANG_FACTOR * (process_cpu_s(decoder.pid) - before_s) / len(case.payloads) + HANG_SLACK_S
        self._before_bytes = before_bytes or 0
        self._limit_bytes: int | None = None
        if before_bytes is not None:
            valid_bytes = _peak_bytes(decoder) - before_bytes
            slack_bytes = MEMORY_TENSORS * case.spec.nbytes + MEMORY_SLACK_BYTES
            self._limit_bytes = before_bytes + int(MEMORY_FACTOR * valid_bytes) + slack_bytes

    @property
    def sees_memory(self) -> bool:
        """True if this system can measure the memory of a process."""
        return self._limit_bytes is not None

    def fault(self, payload: bytes) -> str | None:
        """Return the fault that a payload causes, or None if the codec rejects it or decodes it to a fitting tensor.

        Closes the process after a hang, and if memory exceeds its limit: the peak would count for the next payload,
        too. After a crash the process has ended by itself.
        """
        fault = self._answer_fault(payload)
        if fault is not None or self._limit_bytes is None:
            return fault
        peak_bytes = _peak_bytes(self.decoder)
        if peak_bytes <= self._limit_bytes:
            return None
        self.decoder.close()
        return f"decode allocates {peak_bytes - self._before_bytes >> 20} MiB; check sizes before use"

    def _answer_fault(self, payload: bytes) -> str | None:
        try:
            self.decoder.start_decode_payloads([payload], batched=False)
            if self._hangs():
                self.decoder.close()
                return f"decode hangs: no answer after {self._limit_s:.1f} s of processor time"
            self.decoder.finish_decode_payloads()
        except PayloadError as error:
            no_memory = error.code == FailureCode.NO_MEMORY
            return f"decode asks for more memory than there is ({error})" if no_memory else None
        except CodecFailure as error:
            # A damaged payload of plain float32 values may contain NaN: no fault of the codec.
            return None if error.code == FailureCode.NOT_FINITE else str(error)
        except WorkerDied as error:
            return f"decode ends the process: {error}"
        return None

    def _hangs(self) -> bool:
        """True if the reply takes more processor time than the limit, or IDLE_FACTOR times the limit on the clock.

        Processor time does not depend on the load of the machine. The clock finds a codec that sleeps.
        """
        if self.decoder.has_answer(0.05):
            return False
        began_s, deadline = process_cpu_s(self.decoder.pid), Deadline(IDLE_FACTOR * self._limit_s)
        while not self.decoder.has_answer(0.05):
            if process_cpu_s(self.decoder.pid) - began_s > self._limit_s or deadline.remaining_s() == 0:
                return True
        return False


def _peak_bytes(decoder: CodecClient) -> int:
    return process_status_bytes("VmPeak", decoder.pid) or 0
