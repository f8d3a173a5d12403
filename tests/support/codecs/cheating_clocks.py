"""A plugin file of codecs that work for WORK_S on each sample, and that want to be timed as faster than they are."""

from __future__ import annotations

import gc
import json
import os
import random
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, Side, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

WORK_S = 0.005
_clock, _processor_clock, _sleep = time.perf_counter, time.process_time, time.sleep


def work() -> None:
    """Keep the processor busy."""
    end = _processor_clock() + WORK_S
    while _processor_clock() < end:
        pass


class Slow(Codec):
    """Honest: the values, after some work on either side."""

    name = "slow"

    def encode(self, x: Tensor) -> bytes:
        work()
        return x.numpy().tobytes()

    def decode(self, payload: bytes) -> Tensor:
        work()
        return self.spec.from_buffer(payload)


class ReplacesHarnessClock(Slow):
    """A clock of the harness that stands still."""

    name = "clock-of-harness"

    def restore(self, side: Side, state: bytes) -> None:
        from codecbench import measure

        still = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if name[0] != "_"})
        still.perf_counter = lambda: 0.0
        measure.time = still  # type: ignore[assignment]


class ReplacesPythonClock(Slow):
    """A clock of Python that stands still."""

    name = "clock-of-python"

    def restore(self, side: Side, state: bytes) -> None:
        time.perf_counter = lambda: 0.0


class ReplacesTimed(Slow):
    """Another function in the place of the one that times."""

    name = "clock-timed"

    def restore(self, side: Side, state: bytes) -> None:
        from codecbench import measure

        measure.timed = lambda step, *_: (step(), 1e-5)


def patched_process(name: str, method: Callable[..., Any]) -> None:
    """Replace an operation of the codec's process; the one before is given to it first."""
    from codecbench.workers.process.codec import CodecProcess

    before = getattr(CodecProcess, name)
    setattr(CodecProcess, name, lambda self, request: method(before, self, request))


class ReplacesStep(Slow):
    """Another answer of its process."""

    name = "clock-of-process"

    def restore(self, side: Side, state: bytes) -> None:
        def step(before: Any, process: Any, request: Any) -> Any:
            before(process, request)
            return {"seconds": 1e-5}, ()

        patched_process("op_step", step)


class ReplacesHalf(Slow):
    """Another answer of its process, for two samples of three."""

    name = "clock-of-two-in-three"

    def restore(self, side: Side, state: bytes) -> None:
        draw = random.Random(1)

        def step(before: Any, process: Any, request: Any) -> Any:
            fields, blobs = before(process, request)
            return ({"seconds": 1e-5} if draw.random() < 0.67 else fields), blobs

        patched_process("op_step", step)


class ForgesReply(Slow):
    """A reply of its own, written before the work."""

    name = "clock-forged"

    def _forge(self) -> None:
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_name == "op_step":
                header = json.dumps({"seconds": 1e-5, "blob_bytes": []}).encode()
                reply = struct.pack("<I", len(header)) + header
                for descriptor in range(3, 64):
                    with suppress(OSError):
                        os.write(descriptor, struct.pack("!i", len(reply)) + reply)
                        return

    def encode(self, x: Tensor) -> bytes:
        self._forge()
        return super().encode(x)

    def decode(self, payload: bytes) -> Tensor:
        self._forge()
        return super().decode(payload)


class HalfReply(ForgesReply):
    """The beginning of a reply, and no more."""

    name = "half-reply"

    def encode(self, x: Tensor) -> bytes:
        for descriptor in range(3, 64):
            with suppress(OSError):
                os.write(descriptor, struct.pack("!i", 1000) + b"half")
                break
        while True:
            _sleep(3600)


class WorksWhenHolding(Slow):
    """Works when the sample arrives, before the clock starts."""

    name = "work-when-holding"

    def restore(self, side: Side, state: bytes) -> None:
        def hold(before: Any, process: Any, request: Any) -> Any:
            reply = before(process, request)
            held = process._held
            self.ready = (held, Slow.encode(self, held) if side == "device" else Slow.decode(self, held))
            return reply

        patched_process("op_hold", hold)

    ready: tuple[Any, Any] = (None, None)

    def encode(self, x: Tensor) -> bytes:
        held, found = self.ready
        return found if held is x else super().encode(x)

    def decode(self, payload: bytes) -> Tensor:
        held, found = self.ready
        return found if held is payload else super().decode(payload)


class WorksWhenTaken(Slow):
    """Works when the result is fetched, after the clock has stopped: its tensor is decoded at its first use."""

    name = "work-when-taken"

    def decode(self, payload: bytes) -> Tensor:
        import torch

        values = self.spec.from_buffer(payload)

        class Late(torch.Tensor):
            """Works when it is detached."""

            def detach(self) -> Tensor:
                work()
                return values

        return values.as_subclass(Late)


class SlowPing(ReplacesStep):
    """Makes an empty round trip as long as one with work."""

    name = "clock-of-empty-round-trip"

    def restore(self, side: Side, state: bytes) -> None:
        def ping(before: Any, process: Any, request: Any) -> Any:
            _sleep(1.5 * WORK_S)
            return before(process, request)

        super().restore(side, state)
        patched_process("op_ping", ping)


class WorksAhead(Slow):
    """A thread looks for the sample that its process holds, and encodes it ahead."""

    name = "work-of-thread"

    def restore(self, side: Side, state: bytes) -> None:
        from codecbench.workers.process.codec import CodecProcess

        (process,) = (found for found in gc.get_objects() if isinstance(found, CodecProcess))
        self.found: tuple[Any, Any] = (None, None)
        if side == "device":
            threading.Thread(target=self._ahead, args=(process,), daemon=True).start()

    def _ahead(self, process: Any) -> None:
        while True:
            held = process._held
            if isinstance(held, bytes) or held is self.found[0]:
                _sleep(1e-4)
            else:
                self.found = (held, Slow.encode(self, held))

    def encode(self, x: Tensor) -> bytes:
        held, payload = self.found
        return payload if held is x else super().encode(x)


class Caches(Slow):
    """Keeps what it has encoded and decoded, for all instances of its process."""

    name = "cache"
    known: ClassVar[dict[bytes, Any]] = {}

    def encode(self, x: Tensor) -> bytes:
        values = x.numpy().tobytes()
        if values not in self.known:
            self.known[values] = super().encode(x)
        return self.known[values]

    def decode(self, payload: bytes) -> Tensor:
        if payload not in self.known:
            self.known[payload] = super().decode(payload)
        return self.known[payload].clone() if not isinstance(self.known[payload], bytes) else super().decode(payload)


class FastAlone(Slow):
    """Works in large batches, and rounds at once when it encodes one sample."""

    name = "fast-alone"

    def encode(self, x: Tensor) -> bytes:
        return x.half().float().numpy().tobytes()

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        return [Slow.encode(self, x) for x in xs]


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register all of them."""
    return [
        found
        for found in globals().values()
        if isinstance(found, type) and issubclass(found, Codec) and found is not Codec
    ]
