"""Clients of codec processes: one holds one codec at one operating point, for one side."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Literal, ParamSpec, TypeVar

from codecbench.codec import Side, TensorSpec
from codecbench.errors import CodecFailure, FailureCode
from codecbench.isolation.seal import Isolation
from codecbench.measure import Deadline, ProcessorTimes, Stopwatch, process_growth_bytes, processor_wait_s
from codecbench.workers.answers import Encoded, EncoderCost, TimedStep
from codecbench.workers.connection import DEFAULT_TIMEOUT_S, WorkerClient
from codecbench.workers.launch import Process
from codecbench.workers.protocol import Reply, Role, pack_arrays, unpack_arrays
from codecbench.workers.tensor_file import TensorFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

LABELS: Mapping[Side, str] = {"device": "encoder", "edge": "decoder"}


def _sensible(
    method: Callable[Concatenate[CodecClient, Arguments], Result],
) -> Callable[Concatenate[CodecClient, Arguments], Result]:
    """Raise CodecFailure for a reply without sense: code of a codec can write what it likes to the connection."""

    @functools.wraps(method)
    def checked(self: CodecClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return method(self, *args, **kwargs)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            self.close()
            raise CodecFailure(
                f"the {self.label} process sent a reply that makes no sense", code=FailureCode.RAISED
            ) from error

    return checked


class CodecClient(WorkerClient):
    """A process with one instance of a codec. `open` comes first, or `start_open` and `finish_open`."""

    role: ClassVar[Role] = "codec"

    def __init__(self, process: Process) -> None:
        super().__init__(process=process)
        self.isolation: Isolation | None = None
        """What seals the process; known once it is open."""

    def open(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], side: Side, state: bytes = b"",
        *, tensors: TensorFile | None = None, timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:  # fmt: skip
        """Seal the process, load the codec in it and restore its state."""
        self.start_open(codec_ref, spec, point, side, state, tensors=tensors)
        self.finish_open(Deadline(timeout_s))

    def start_open(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], side: Side, state: bytes = b"",
        *, tensors: TensorFile | None = None, threads: int = 1,
    ) -> None:  # fmt: skip
        """Start `open` without waiting. An encoder reads samples from `tensors`, a decoder writes tensors to it.

        `threads` is torch's thread count in the process.
        """
        self.label = LABELS[side]
        file = None if tensors is None else tensors.to_json()
        self.send("seal", {"side": side, "tensors": file, "threads": threads})
        self.send("open", {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point), "side": side}, [state])

    @_sensible
    def finish_open(self, deadline: Deadline) -> None:
        """Wait until the codec is restored. Raises CodecFailure if it could not be."""
        self.isolation = Isolation.from_json(self.receive_until(deadline).fields["isolation"])
        self.receive_until(deadline)

    @_sensible
    def export(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[bytes, bytes]:
        """Seal the process, and return the (device, edge) states of a codec that needs no fit."""
        fields = {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point)}
        device, edge = self.call("export", fields, timeout_s=timeout_s).blobs
        return device, edge

    # --- many samples -------------------------------------------------------------------------------------------------

    def start_encode(self, first_row: int, shapes: Sequence[Sequence[int]], *, bounds: bool) -> None:
        """Start to encode samples of the file, from a row on; with `bounds` the result has Shannon bounds, too."""
        self.send("encode", {"first_row": first_row, "shapes": [list(s) for s in shapes], "bounds": bounds})

    @_sensible
    def finish_encode(self, deadline: Deadline) -> Encoded:
        """Wait for `start_encode` and return its result."""
        reply = self.receive_until(deadline)
        bounds = reply.fields.get("bound_bytes")
        if bounds is not None:
            bounds = [None if bound is None else float(bound) for bound in bounds]
        return Encoded(reply.blobs, bounds)

    def start_decode(self, first_row: int, payloads: Sequence[bytes]) -> None:
        """Start to decode payloads into the rows of the file from `first_row` on."""
        self.send("decode", {"first_row": first_row}, payloads)

    @_sensible
    def finish_decode(self, deadline: Deadline) -> list[tuple[int, ...]]:
        """Wait for `start_decode`; return the shapes of the decoded tensors."""
        return [tuple(map(_count, shape)) for shape in self.receive_until(deadline).fields["shapes"]]

    @_sensible
    def encode_samples(
        self, samples: Sequence[NDArray[Any]], *, batched: bool = True, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> list[bytes]:
        """Return the payloads of these samples, from `encode_batch` or from `encode` one by one."""
        headers, blobs = pack_arrays(samples)
        return self.call("encode_arrays", {"arrays": headers, "batched": batched}, blobs, timeout_s=timeout_s).blobs

    def decode_payloads(
        self, payloads: Sequence[bytes], *, batched: bool = True, finite: bool = True,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[NDArray[Any]]:  # fmt: skip
        """Return the tensors of these payloads, by `decode_batch` or `decode`. Raises PayloadError for a bad one.

        With `finite`, an infinity or NaN in a tensor raises CodecFailure.
        """
        self.start_decode_payloads(payloads, batched=batched, finite=finite)
        return self.finish_decode_payloads(timeout_s=timeout_s)

    def start_decode_payloads(self, payloads: Sequence[bytes], *, batched: bool = True, finite: bool = True) -> None:
        """Start `decode_payloads` without waiting for the result."""
        self.send("decode_arrays", {"batched": batched, "finite": finite}, payloads)

    @_sensible
    def finish_decode_payloads(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[NDArray[Any]]:
        """Wait for `start_decode_payloads` and return the tensors."""
        reply = self.receive(timeout_s=timeout_s)
        return unpack_arrays(reply.fields["arrays"], reply.blobs)

    # --- one sample, timed --------------------------------------------------------------------------------------------

    @_sensible
    def encode_timed(
        self, sample: NDArray[Any], *, empty: CodecClient | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[bytes, TimedStep]:
        """Return the payload of one sample, and the times of encoding it.

        `empty` is a process without a codec, whose empty round trip is the one that no codec can make longer.
        """
        (header,), blobs = pack_arrays([sample])
        reply, timed = self._timed_step("encode", header, blobs, empty or self, timeout_s)
        return reply.blobs[0], timed

    @_sensible
    def decode_timed(
        self, payload: bytes, *, empty: CodecClient | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[NDArray[Any], TimedStep]:
        """Return the tensor of one payload, and the times of decoding it. `empty` is as in `encode_timed`."""
        reply, timed = self._timed_step("decode", None, [payload], empty or self, timeout_s)
        (tensor,) = unpack_arrays(reply.fields["arrays"], reply.blobs)
        return tensor, timed

    def _timed_step(
        self, step: Literal["encode", "decode"], header: Mapping[str, Any] | None, held: Sequence[bytes],
        empty: CodecClient, timeout_s: float,
    ) -> tuple[Reply, TimedStep]:  # fmt: skip
        """Hand over the sample or the payload, run the step, and fetch its result; return it with the times.

        The process's own clock is held against a round trip and an empty one, its processor time against the clock.
        """
        used = ProcessorTimes(self.pid)
        self.call("hold", {"array": header}, held)
        empty_s = _round_trip_s(empty, empty.ping)
        reported: list[float] = []
        with used.step():
            round_trip_s = _round_trip_s(
                self,
                lambda: reported.append(
                    float(self.call("step", {"step": step}, timeout_s=timeout_s).fields["seconds"])
                ),
            )
        if not 0.0 <= reported[0] < math.inf:
            raise ValueError(f"{reported[0]} is no time")
        reply = self.call("take", {"step": step}, timeout_s=timeout_s)
        return reply, TimedStep(
            reported[0], round_trip_s, empty_s, used.step_s(), used.outside_s(), used.own_s()
        )  # fmt: skip

    def ping(self) -> None:
        """Wait for an empty reply."""
        self.call("ping")

    @_sensible
    def encoder_cost(self, sample: NDArray[Any], *, timeout_s: float = DEFAULT_TIMEOUT_S) -> EncoderCost:
        """Return FLOPs, parameters and memory growth of encoding one sample. The memory is read from outside."""
        (header,), blobs = pack_arrays([sample])
        self.call("hold", {"array": header}, blobs)
        # The first encode maps pages of the program itself, some megabytes, which must not count as the codec's.
        self.call("step", {"step": "encode"}, timeout_s=timeout_s)
        self.call("trim")
        peak_bytes = process_growth_bytes(
            lambda: self.call("step", {"step": "encode"}, timeout_s=timeout_s), pid=self.pid
        )
        found = self.call("encoder_cost", timeout_s=timeout_s).fields
        return EncoderCost(_known(found["encoder_flop"]), _known(found["encoder_parameters"]), peak_bytes)

    @_sensible
    def decoder_flop(self, payload: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int | None:
        """Return the FLOPs of decoding one payload, None if not countable."""
        self.call("hold", {"array": None}, [payload])
        return _known(self.call("decoder_flop", timeout_s=timeout_s).fields["decoder_flop"])


def _round_trip_s(client: CodecClient, call: Callable[[], Any]) -> float:
    """Return the seconds of a call, less those in which the client's process or this one waited for a processor."""
    waited_s = processor_wait_s(client.pid) + processor_wait_s()
    watch = Stopwatch()
    call()
    elapsed_s = watch.elapsed_s()
    return max(0.0, elapsed_s - (processor_wait_s(client.pid) + processor_wait_s() - waited_s))


def _known(count: Any) -> int | None:
    return None if count is None else _count(count)


def _count(value: Any) -> int:
    """Return an integer of at least 0. Raises ValueError for anything else."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
