"""A plugin file of codecs that do what a stranger's codec may do to a run, and a few that behave.

What breaks the contract in a harmless way is in broken.py; these hit the processes and the loop over cells.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Steady(Codec):
    """Behaves: the values as float32, or rounded to float16."""

    name = "steady"
    points: tuple[Mapping[str, Any], ...] = ({"bits": 16}, {"bits": 32})
    bits: int

    def encode(self, x: Tensor) -> bytes:
        return x.numpy().astype(f"float{self.bits}").tobytes()

    def decode(self, payload: bytes) -> Tensor:
        import numpy as np

        values = np.frombuffer(payload, f"float{self.bits}").astype(np.float32)
        return self.spec.from_buffer(values.tobytes())


class Misbehaving(Steady):
    """What they share: one point, and the float32 values where nothing else is done."""

    points = ({},)
    bits = 32


class SkipsInput(Misbehaving):
    """Says that it cannot take images."""

    name = "skips-input"

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        return "takes no images" if spec.image else None


class Hangs(Misbehaving):
    """Never answers."""

    name = "hangs"

    def encode(self, x: Tensor) -> bytes:
        time.sleep(3600)
        return b""


class Opens(Misbehaving):
    """Reaches for a file."""

    name = "opens"

    def encode(self, x: Tensor) -> bytes:
        return Path("/some/folder/secret").read_bytes()


class HangsInDecode(Misbehaving):
    """Never answers on the edge."""

    name = "hangs-in-decode"

    def decode(self, payload: bytes) -> Tensor:
        time.sleep(3600)
        return super().decode(payload)


class Segfaults(Misbehaving):
    """Reads address 0."""

    name = "segfaults"

    def encode(self, x: Tensor) -> bytes:
        return ctypes.string_at(0)


class Exits(Misbehaving):
    """Ends the process."""

    name = "exits"

    def encode(self, x: Tensor) -> bytes:
        sys.exit("that is enough")


class ExitsWithStatus(Misbehaving):
    """Says something and ends the process with a number."""

    name = "exits-with-status"

    def encode(self, x: Tensor) -> bytes:
        print("the last words", file=sys.stderr)
        sys.exit(7)


class Pollutes(Misbehaving):
    """Counts calls in an attribute of a module that others use as well."""

    name = "pollutes"

    def encode(self, x: Tensor) -> bytes:
        json.calls = getattr(json, "calls", 0) + 1  # type: ignore[attr-defined]
        return f"{json.calls}".encode()  # type: ignore[attr-defined]


class ExitsInDecode(Misbehaving):
    """Ends the process on the edge."""

    name = "exits-in-decode"

    def decode(self, payload: bytes) -> Tensor:
        sys.exit("no more")


class TakesMemory(Misbehaving):
    """Needs 64 MiB for a moment."""

    name = "takes-memory"

    def encode(self, x: Tensor) -> bytes:
        _ = b"\1" * (1 << 26)
        return super().encode(x)


class Weighs(Misbehaving):
    """Runs the values through a layer, for nothing."""

    name = "weighs"

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        import torch

        self.layer = torch.nn.Linear(math.prod(spec.max_shape), 4)

    def encode(self, x: Tensor) -> bytes:
        self.layer(x.flatten())
        return super().encode(x)

    def decode(self, payload: bytes) -> Tensor:
        decoded = super().decode(payload)
        self.layer(decoded.flatten()).sum().backward()
        return decoded


class Hoards(Misbehaving):
    """Takes all the memory there is."""

    name = "hoards"

    def encode(self, x: Tensor) -> bytes:
        kept = [bytearray(1 << 26) for _ in range(1 << 14)]
        return bytes(len(kept))


class RaisesInEncode(Misbehaving):
    """Raises, in two lines."""

    name = "raises-in-encode"

    def encode(self, x: Tensor) -> bytes:
        raise RuntimeError("no such\ntensor")


class RaisesInDecode(Misbehaving):
    """Raises on the edge."""

    name = "raises-in-decode"

    def decode(self, payload: bytes) -> Tensor:
        raise KeyError("table")


class RaisesInConstructor(Misbehaving):
    """Cannot be made."""

    name = "raises-in-constructor"

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        raise OverflowError("too wide")


class RaisesWhenAsked(Misbehaving):
    """Does not even say whether it can take a tensor."""

    name = "raises-when-asked"

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        raise ZeroDivisionError("division by zero")


class GivesText(Misbehaving):
    """Returns no bytes."""

    name = "gives-text"

    def encode(self, x: Tensor) -> bytes:
        return "payload"  # type: ignore[return-value]


class GivesTooFew(Misbehaving):
    """Returns fewer payloads than samples."""

    name = "gives-too-few"

    def encode_batch(self, xs: Any) -> list[bytes]:
        return [self.encode(x) for x in xs][1:]


class ChangesInput(Misbehaving):
    """Writes to what it was given."""

    name = "changes-input"

    def encode(self, x: Tensor) -> bytes:
        payload = super().encode(x)
        x.zero_()
        return payload


class DecodesArray(Misbehaving):
    """Returns no tensor."""

    name = "decodes-array"

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload).numpy()  # type: ignore[return-value]


class DecodesWrongShape(Misbehaving):
    """Loses its first axis."""

    name = "decodes-wrong-shape"

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload)[0]


class DecodesWrongDtype(Misbehaving):
    """Returns doubles."""

    name = "decodes-wrong-dtype"

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload).double()


class DecodesNan(Misbehaving):
    """Returns nonsense that would poison a metric."""

    name = "decodes-nan"

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload) * float("nan")


class Prints(Misbehaving):
    """Talks where the harness might listen."""

    name = "prints"

    def encode(self, x: Tensor) -> bytes:
        print("hello from encode" * 100)
        sys.stderr.write("and to you\n")
        return super().encode(x)


class Forks(Misbehaving):
    """Starts a process."""

    name = "forks"

    def encode(self, x: Tensor) -> bytes:
        if os.fork() == 0:
            os._exit(0)
        return super().encode(x)


class TellsWhere(Misbehaving):
    """Sends what it sees of its surroundings."""

    name = "tells-where"

    def encode(self, x: Tensor) -> bytes:
        return json.dumps({"cwd": os.getcwd(), "environment": dict(os.environ)}).encode()  # noqa: PTH109


class Learns(Misbehaving):
    """Fitted: the state tells what `fit` was given."""

    name = "learns"
    state: bytes = b""

    def fit(self, data: FitData) -> None:
        import torch

        first, targets = next(iter(data.batches(8)))
        again, _ = next(iter(data.batches(8)))
        assert isinstance(first, torch.Tensor)
        assert isinstance(again, torch.Tensor)
        crossing = first.clone().requires_grad_()
        data.tail(crossing).sum().backward()
        data.progress(0.5, "half way")
        train = torch.cat([x for x, _ in data.batches(7)])
        held_out = torch.cat([x for x, _ in data.held_out(7)])
        told = {
            "count": data.count,
            "held_out_count": data.held_out_count,
            "train": len(train),
            "held_out": len(held_out),
            "overlap": int((train.flatten(1)[:, None] == held_out.flatten(1)[None]).all(2).sum()),
            "same_order": bool(torch.equal(first, again)),
            "targets": [int(t) for t in targets],
            "gradient": bool(crossing.grad is not None and crossing.grad.abs().sum() > 0),
            "seed": data.seed,
            "time_left": data.remaining_s() > 0,
        }
        self.state = json.dumps(told).encode()

    def export(self, side: Side) -> bytes:
        return self.state if side == "device" else b""

    def restore(self, side: Side, state: bytes) -> None:
        if side == "device":
            json.loads(state)


class Bounded(Misbehaving):
    """Gives a bound of its payloads, another for each."""

    name = "bounded"

    def bound_bytes(self, x: Tensor) -> float:
        return 4.0 * x.numel() - float(x.abs().max())


class FailsToLearn(Misbehaving):
    """Its fit raises."""

    name = "fails-to-learn"

    def fit(self, data: FitData) -> None:
        raise FloatingPointError("the loss is nan")


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register all of them."""
    shared = (Codec, Misbehaving)
    return [c for c in globals().values() if isinstance(c, type) and issubclass(c, Codec) and c not in shared]
