"""Codecs that each break one demand of the kit, and their valid counterparts, which differ in nothing else.

`PAIRS` lists them as (check, broken codec, valid counterpart).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path

from codecbench import Codec, PayloadError, RateKnob, hookimpl
from codecbench.toolbox.coding.headers import read_shape, write_shape

PAIRS: list[tuple[str, type[Codec], type[Codec]]] = []


def breaks(check: str, counterpart: type[Codec]):
    def add(codec: type[Codec]) -> type[Codec]:
        PAIRS.append((check, codec, counterpart))
        return codec

    return add


class Plain(Codec):
    """The values as they are."""

    name = "plain"

    def encode(self, x):
        return write_shape(self.spec, x.shape) + x.contiguous().numpy().tobytes()

    def decode(self, payload):
        shape, body = read_shape(self.spec, payload)
        return self.spec.from_buffer(body, shape)


# --- the class and its points ----------------------------------------------------------------------------------------


@breaks("check_metadata", Plain)
class Undocumented(Plain):
    name = "broken-undocumented"


@breaks("check_metadata", Plain)
class Shouting(Plain):
    """A name in capitals."""

    name = "Broken_Shouting"


@breaks("check_metadata", Plain)
class ListTags(Plain):
    """Tags that are no frozenset."""

    name = "broken-tags"
    tags = ["lossless"]  # type: ignore[assignment]  # noqa: RUF012


class PointPair(Plain):
    """Two points of a number."""

    name = "sound-points"
    points = ({"level": 1}, {"level": 2})


@breaks("check_metadata", PointPair)
class NullPoint(PointPair):
    """A point of which a record could not keep the value."""

    name = "broken-null-point"
    points = ({"level": None},)

    @classmethod
    def points_for(cls, spec):
        return ({"level": 1},)


class VectorsOnly(Plain):
    """Says which tensors it takes."""

    name = "sound-vectors-only"
    points = ({"level": 1}, {"level": 2})

    @classmethod
    def skip_reason(cls, spec, **point):
        return "level 2 needs a vector" if spec.ndim > 1 and point["level"] == 2 else None


@breaks("check_points_constructible", VectorsOnly)
class RaisesInConstructor(Plain):
    """Raises where it should give a reason."""

    name = "broken-constructor"
    points = ({"level": 1}, {"level": 2})

    def __init__(self, spec, **point):
        super().__init__(spec, **point)
        if spec.ndim > 1 and self.point["level"] == 2:
            raise ValueError("level 2 needs a vector")


@breaks("check_points_constructible", PointPair)
class RepeatsPoint(PointPair):
    """The same point twice."""

    name = "broken-repeats-point"
    points = ({"level": 1}, {"level": 1})


@breaks("check_takes_a_spec", VectorsOnly)
class TakesNothing(Plain):
    """Skips whatever it is given."""

    name = "broken-takes-nothing"

    @classmethod
    def skip_reason(cls, spec, **point):
        return "not today"


@breaks("check_quick_points", PointPair)
class StrangeQuickPoint(PointPair):
    """A quick point that is no point."""

    name = "broken-quick-point"

    @classmethod
    def quick_points_for(cls, spec):
        return ({"level": 2}, {"level": 3})


@breaks("check_quick_points", PointPair)
class QuickPointOfStatistics(PointPair):
    """A quick point that follows from statistics, and points that do not."""

    name = "broken-quick-point-of-statistics"

    @classmethod
    def quick_points_for(cls, spec):
        return ({"level": 3},) if spec.statistics else cls.points


class Knob(PointPair):
    """A rate knob with a range of its own."""

    name = "sound-knob"

    @classmethod
    def rate_knob(cls, spec):
        return RateKnob("level", 1, 9, integer=True)

    @classmethod
    def skip_reason(cls, spec, **point):
        return None if point.get("level", 1) < 10 else "level is at most 9"


@breaks("check_rate_knob", Knob)
class KnobTooFar(Knob):
    """A rate knob that goes further than the codec."""

    name = "broken-knob-range"

    @classmethod
    def rate_knob(cls, spec):
        return RateKnob("level", 1, 10, integer=True)


@breaks("check_rate_knob", Knob)
class KnobOfNothing(Knob):
    """A rate knob that is no argument."""

    name = "broken-knob"

    @classmethod
    def rate_knob(cls, spec):
        return RateKnob("levels", 1, 9, integer=True)


@breaks("check_unknown_argument", PointPair)
class TakesAnything(PointPair):
    """Takes arguments that it does not have."""

    name = "broken-takes-anything"

    def __init__(self, spec, level=1, **_ignored):
        super().__init__(spec, level=level)


@breaks("check_repr", PointPair)
class ForgetfulRepr(PointPair):
    """A repr without the argument that the payload depends on."""

    name = "broken-repr"

    def __repr__(self):
        return f"{type(self).__name__}({self.spec!r})"

    def encode(self, x):
        return super().encode(x) + bytes([self.level])

    def decode(self, payload):
        return super().decode(payload[:-1])


class Remembered(Plain):
    """Decodes what it decoded when its golden file was written."""

    name = "sound-golden"


@breaks("check_golden", Remembered)
class Drifted(Plain):
    """Decodes otherwise than when its golden file was written, under the same version."""

    name = "broken-golden"

    def decode(self, payload):
        return super().decode(payload) + 1


# --- fitting and states ----------------------------------------------------------------------------------------------


class Scaled(Plain):
    """Divides by the mean of the training activations. The state is the mean, as JSON."""

    name = "sound-scaled"
    mean = 1.0

    def fit(self, data):
        for xs, _targets in data.batches(8):
            if data.remaining_s() <= 0:
                return
            self.mean = 1.0 + sum(abs(float(x.mean())) for x in xs) / len(xs)

    def export(self, side):
        return json.dumps(self.mean).encode()

    def restore(self, side, state):
        self.mean = json.loads(state)

    def encode(self, x):
        return super().encode(x / self.mean)

    def decode(self, payload):
        return super().decode(payload) * self.mean


@breaks("check_fit_repeats", Scaled)
class FitsByChance(Scaled):
    """Draws from the system instead of the seed."""

    name = "broken-fit-by-chance"

    def fit(self, data):
        self.mean = 1.0 + os.urandom(4)[0] + os.urandom(4)[1] / 256 + os.urandom(4)[2] / 65536


@breaks("check_fit_repeats", Scaled)
class ExportsText(Scaled):
    """A state that is no bytes."""

    name = "broken-export"

    def export(self, side):
        return json.dumps(self.mean)


@breaks("check_fit_repeats", Scaled)
class FitsFromFile(Scaled):
    """Learns from a file of its own."""

    name = "broken-fit-from-file"

    def fit(self, data):
        self.mean = float(len(Path(sys.executable).read_bytes()))


@breaks("check_fit_without_time", Scaled)
class NeedsTime(Scaled):
    """Is unusable unless the fit got somewhere."""

    name = "broken-needs-time"
    mean = None  # type: ignore[assignment]


class ScaledOrNot(Scaled):
    """Works without its fit."""

    name = "scaled-or-not"

    @classmethod
    def works_unfitted(cls, spec, **point):
        return True


@breaks("check_works_unfitted", ScaledOrNot)
class WorksFittedOnly(ScaledOrNot):
    """Says that it works without its fit, and does not."""

    name = "broken-works-fitted-only"
    mean = None  # type: ignore[assignment]

    def fit(self, data):
        super().fit(data)
        self.mean = self.mean or 1.0


@breaks("check_state", Scaled)
class RestoresHalf(Scaled):
    """Exports something else once it was restored."""

    name = "broken-restore"
    restored = False

    def restore(self, side, state):
        super().restore(side, state)
        self.restored = True

    def export(self, side):
        return json.dumps(self.mean * 2 if self.restored else self.mean).encode()


class Leaning(Scaled):
    """Keeps its mean without what it adds of the tail."""

    name = "leaning-on-the-tail"
    added = 0

    def fit(self, data):
        super().fit(data)
        self.added = _parameters(data.tail)

    def export(self, side):
        return json.dumps([self.mean, self.added]).encode()

    def compact(self):
        return json.dumps(self.mean).encode()

    def complete(self, state, tail):
        return json.dumps([json.loads(state), _parameters(tail)]).encode()

    def restore(self, side, state):
        self.mean, self.added = json.loads(state)


def _parameters(tail):
    return sum(parameter.numel() for parameter in tail.parameters())


@breaks("check_compact_state", Leaning)
class ForgetsTheTail(Leaning):
    """Completes its state by something else."""

    name = "broken-complete"

    def complete(self, state, tail):
        return json.dumps([json.loads(state), -1]).encode()


# --- what crosses beside the payload ---------------------------------------------------------------------------------


@breaks("check_other_process", Plain)
class ClassAttributeSmuggler(Plain):
    """Smuggler one: leaves the sample in a class attribute and sends eight bytes."""

    name = "broken-smuggler-attribute"
    left = {}  # noqa: RUF012

    def encode(self, x):
        key = hashlib.sha256(super().encode(x)).digest()[:8]
        self.left[key] = x.clone()
        return key

    def decode(self, payload):
        return self.left[payload].clone()


@breaks("check_sealed", Plain)
class FileSmuggler(Plain):
    """Smuggler one again: leaves the sample in a file."""

    name = "broken-smuggler-file"

    def encode(self, x):
        values = super().encode(x)
        key = hashlib.sha256(values).hexdigest()[:8]
        (Path(tempfile.gettempdir()) / key).write_bytes(values)
        return key.encode()

    def decode(self, payload):
        return super().decode((Path(tempfile.gettempdir()) / payload.decode()).read_bytes())


@breaks("check_sealed", Plain)
class DatasetSmuggler(Plain):
    """Smuggler two: sends the index of a shipped test image and opens the dataset on the edge."""

    name = "broken-smuggler-dataset"

    def images(self):
        import numpy as np
        import torch
        from PIL import Image

        import codecbench_datasets.cifar10 as shipped

        with open(Path(shipped.__file__).parent / "data" / "test.png", "rb") as file, Image.open(file) as picture:  # noqa: PTH123
            pixels = np.asarray(picture)
        rows = torch.from_numpy(pixels.reshape(-1, 32, 32, 3).copy()).permute(0, 3, 1, 2)
        return rows.float() / 255

    def encode(self, x):
        if tuple(x.shape) != (3, 32, 32):
            return b"\0" + super().encode(x)
        matches = (self.images() == x).flatten(1).all(1).nonzero()
        return b"\1" + struct.pack("<H", int(matches[0])) if len(matches) else b"\0" + super().encode(x)

    def decode(self, payload):
        if payload[0] == 0:
            return super().decode(payload[1:])
        return self.images()[struct.unpack("<H", payload[1:])[0]]


@breaks("check_other_process", Plain)
class HashSeeded(Plain):
    """Orders its bytes by Python's hash of a text, which differs from process to process."""

    name = "broken-hash"

    def key(self):
        return hash("any text") & 255

    def encode(self, x):
        return bytes([self.key()]) + super().encode(x)

    def decode(self, payload):
        if payload[0] != self.key():
            raise PayloadError("wrong key")
        return super().decode(payload[1:])


# --- encode ----------------------------------------------------------------------------------------------------------


@breaks("check_encode_gives_bytes", Plain)
class GivesBytearray(Plain):
    """A payload that can still change."""

    name = "broken-bytearray"

    def encode(self, x):
        return bytearray(super().encode(x))


class Doubling(Plain):
    """Sends twice the values."""

    name = "sound-doubling"

    def encode(self, x):
        return super().encode(x * 2)

    def decode(self, payload):
        return super().decode(payload) / 2


@breaks("check_input_unmodified", Doubling)
class DoublesInput(Doubling):
    """Doubles in place."""

    name = "broken-in-place"

    def encode(self, x):
        return Plain.encode(self, x.mul_(2))


@breaks("check_same_bytes", Plain)
class Counts(Plain):
    """Numbers its payloads."""

    name = "broken-counter"
    sent = 0

    def encode(self, x):
        self.sent += 1
        return bytes([self.sent % 256]) + super().encode(x)

    def decode(self, payload):
        return super().decode(payload[1:])


@breaks("check_same_bytes", Plain)
class Adapts(Plain):
    """Marks a sample that is greater than any before it."""

    name = "broken-adaptive"

    def __init__(self, spec, **point):
        super().__init__(spec, **point)
        self.greatest = float("-inf")

    def encode(self, x):
        top = max(self.greatest, float(x.max()))
        self.greatest = top
        return struct.pack("<f", top) + super().encode(x)

    def decode(self, payload):
        return super().decode(payload[4:])


@breaks("check_encode_batch", Plain)
class SharesScale(Plain):
    """One scale for a whole batch."""

    name = "broken-batch-scale"

    def scaled(self, x, scale):
        return struct.pack("<f", scale) + super().encode(x / scale)

    def encode(self, x):
        return self.scaled(x, 1.0 + float(x.abs().max()))

    def encode_batch(self, xs):
        scale = max((1.0 + float(x.abs().max()) for x in xs), default=1.0)
        return [self.scaled(x, scale) for x in xs]

    def decode(self, payload):
        return super().decode(payload[4:]) * struct.unpack("<f", payload[:4])[0]


class ScalesAlone(SharesScale):
    """Batch methods of its own, and a scale for each sample."""

    name = "sound-batch-methods"

    def encode_batch(self, xs):
        return [self.encode(x) for x in xs]

    def decode_batch(self, payloads):
        return [self.decode(p) for p in payloads]


@breaks("check_encode_batch", ScalesAlone)
class ScalesLargeBatches(ScalesAlone):
    """One scale for a batch, but only where the batch is a large one."""

    name = "broken-large-batch-scale"

    def encode_batch(self, xs):
        return SharesScale.encode_batch(self, xs) if len(xs) > 16 else super().encode_batch(xs)


# --- decode ----------------------------------------------------------------------------------------------------------


@breaks("check_decode_gives_tensor", Plain)
class GivesDouble(Plain):
    """Another dtype."""

    name = "broken-dtype"

    def decode(self, payload):
        return super().decode(payload).double()


@breaks("check_decode_gives_tensor", Plain)
class GivesFlat(Plain):
    """Another shape."""

    name = "broken-shape"

    def decode(self, payload):
        return super().decode(payload).flatten()


@breaks("check_decode_gives_tensor", Plain)
class GivesArray(Plain):
    """An array."""

    name = "broken-array"

    def decode(self, payload):
        return super().decode(payload).numpy()


@breaks("check_decode_gives_tensor", Plain)
class GivesNan(Plain):
    """Values that are no numbers."""

    name = "broken-nan"

    def decode(self, payload):
        return super().decode(payload) * float("nan")


class Bounded(Plain):
    """Plain values, which are their own bound."""

    name = "sound-bound"

    def bound_bytes(self, x):
        return 4.0 * x.numel()


@breaks("check_bound", Bounded)
class Wasteful(Bounded):
    """A payload far over its bound."""

    name = "broken-bound"

    def bound_bytes(self, x):
        return 3.9 * x.numel()


@breaks("check_bound", Bounded)
class Unbounded(Bounded):
    """A bound that is no number."""

    name = "broken-bound-nan"

    def bound_bytes(self, x):
        return float("nan")


class Exact(Plain):
    """Exact, and tagged so."""

    name = "sound-lossless"
    tags = frozenset({"lossless"})


@breaks("check_lossless", Exact)
class NearlyExact(Exact):
    """Rounds, and is tagged as exact."""

    name = "broken-lossless"

    def encode(self, x):
        return super().encode(x.round(decimals=3))


class Normalised(Plain):
    """Eight-bit values over the greatest."""

    name = "sound-normalised"

    def scale(self, x):
        return float(x.abs().max()) / 127 or 1.0

    def encode(self, x):
        scale = self.scale(x)
        values = (x.double() / scale).round().to(dtype=_torch().int8)
        return struct.pack("<d", scale) + write_shape(self.spec, x.shape) + values.numpy().tobytes()

    def decode(self, payload):
        shape, body = read_shape(self.spec, payload[8:])
        torch = _torch()
        values = torch.frombuffer(bytearray(body), dtype=torch.int8).reshape(shape)
        return (values.double() * struct.unpack("<d", payload[:8])[0]).float()


@breaks("check_extreme_values", Normalised)
class DividesByZero(Normalised):
    """Zeros divided by their greatest value."""

    name = "broken-zeros"

    def scale(self, x):
        return float(x.abs().max()) / 127

    def decode(self, payload):
        return super().decode(payload) / struct.unpack("<d", payload[:8])[0] * struct.unpack("<d", payload[:8])[0]


@breaks("check_decode_batch", Plain)
class CentresBatch(Plain):
    """A batch decoded about its mean."""

    name = "broken-decode-batch"

    def decode_batch(self, payloads):
        decoded = [self.decode(p) for p in payloads]
        return [x + 0.001 * len(decoded) for x in decoded]


@breaks("check_decode_batch", ScalesAlone)
class CentresLargeBatches(ScalesAlone):
    """A large batch decoded about its mean."""

    name = "broken-decode-large-batch"

    def decode_batch(self, payloads):
        decoded = super().decode_batch(payloads)
        return [x + 0.001 * x.abs().max() for x in decoded] if len(decoded) > 16 else decoded


@breaks("check_decode_batch", Plain)
class StacksBatch(Plain):
    """A batch as one tensor instead of a list."""

    name = "broken-decode-stack"

    def decode_batch(self, payloads):
        return _torch().stack([self.decode(p) for p in payloads]) if payloads else []


@breaks("check_decode_gives_new_tensor", Plain)
class KeepsTensor(Plain):
    """Gives the same tensor for the same payload."""

    name = "broken-kept-tensor"

    def __init__(self, spec, **point):
        super().__init__(spec, **point)
        self.kept = {}

    def decode(self, payload):
        if payload not in self.kept:
            self.kept[payload] = super().decode(payload)
        return self.kept[payload]


# --- damaged payloads ------------------------------------------------------------------------------------------------


class Counted(Plain):
    """The number of values in front, checked before use."""

    name = "sound-counted"

    def encode(self, x):
        return struct.pack("<Q", x.numel()) + super().encode(x)

    def decode(self, payload):
        (count,) = struct.unpack_from("<Q", payload)
        if count * 4 > self.spec.nbytes:
            raise PayloadError(f"{count} values are too many")
        self.use(count)
        return super().decode(payload[8:])

    def use(self, count):
        for _ in range(count):
            pass


class Trusting(Counted):
    """The same, not checked."""

    def decode(self, payload):
        (count,) = struct.unpack_from("<Q", payload)
        self.use(count)
        return Plain.decode(self, payload[8:])


@breaks("check_damaged_payloads", Counted)
class Hangs(Trusting):
    """Counts as far as it is told."""

    name = "broken-hangs"


@breaks("check_damaged_payloads", Counted)
class Hoards(Trusting):
    """Asks for as much memory as it is told."""

    name = "broken-hoards"

    def use(self, count):
        _torch().empty(count)


@breaks("check_damaged_payloads", Counted)
class Crashes(Trusting):
    """Reads where it is told."""

    name = "broken-crashes"

    def use(self, count):
        if count > 1 << 40:
            ctypes.string_at(8)


class Inflating(Plain):
    """Deflated, and inflated up to what the tensor takes."""

    name = "sound-inflating"

    def encode(self, x):
        return zlib.compress(super().encode(x))

    def decode(self, payload):
        return super().decode(zlib.decompressobj().decompress(payload, self.spec.nbytes + 16))


@breaks("check_damaged_payloads", Inflating)
class InflatesAll(Inflating):
    """Deflated, and inflated as far as it goes."""

    name = "broken-inflates"

    def decode(self, payload):
        return Plain.decode(self, zlib.decompress(payload))


@breaks("check_damaged_payloads", Plain)
class TakesShort(Plain):
    """Gives a smaller tensor where bytes are missing."""

    name = "broken-short"

    def decode(self, payload):
        if len(payload) == self.spec.nbytes:
            return super().decode(payload)
        return _torch().zeros(len(payload) // 4)


def _torch():
    import torch

    return torch


@hookimpl
def codecbench_register_codecs():
    """All but those whose class attributes are at fault: the registry refuses some of them."""
    return sorted({c for pair in PAIRS for c in pair[1:] if pair[0] != "check_metadata"}, key=lambda c: c.name)
