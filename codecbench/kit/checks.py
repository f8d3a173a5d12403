"""The checks of the conformance kit, a function each. A check's docstring is the requirement that it tests.

A check raises CheckFailed, or CheckSkipped if it does not apply to the codec. `needs` names the checks that must pass
first, so that one fault gives one failure. docs/reference/kit.md lists these docstrings, which a test compares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import CodecbenchError, one_line
from codecbench.isolation.audit import GuardError, sealed
from codecbench.kit import class_checks  # noqa: F401 - those come first
from codecbench.kit.cases import KitCase
from codecbench.kit.damage import damaged
from codecbench.kit.golden import Golden, golden_change, golden_files, golden_folder, golden_path, known_as
from codecbench.kit.runner import CheckFailed, CheckSkipped, Kit, check_of, require
from codecbench.kit.samples import extremes
from codecbench.kit.trial import Trial
from codecbench.toolbox.coding.headers import write_shape

if TYPE_CHECKING:
    from torch import Tensor

BOUND_FACTOR = 1.01
BOUND_SLACK_BYTES = 4
BATCHES = ((0, 1, 2, 3), (3, 2), (0,), ())
"""Batches of a case's samples or payloads: all four, the last two backwards, one, and none."""
RUN_BATCH = tuple(index % 4 for index in range(128))
"""A batch of the size that a run uses, for codecs that have a batch method of their own."""


@check_of(of_codec=True, needs=("check_points_constructible",))
def check_golden(kit: Kit, codec: type[Codec]) -> None:
    """Golden bitstreams beside the source file decode to the same values as before, unless `version` was raised.

    If a spec and point has no golden bitstream, the check is skipped and names the command that writes it.
    """
    stale = 0
    found = golden_files(codec)
    for path in found:
        golden = Golden.read(path)
        require(golden.version <= codec.version, f"{path.name} is of version {golden.version}, the codec of an older")
        stale += golden.version < codec.version
        change = None if golden.version < codec.version else golden_change(codec, golden)
        require(not change, f"{path.name}: {change}; raise version, or decode version {golden.version} as before")
    cases = [case for case in kit.cases if case.codec is codec]
    missing = sum(golden_path(codec, case.spec, case.point) not in found for case in cases)
    if missing or stale:
        lacking = [f"{missing} missing"] * bool(missing) + [f"{stale} of an older version"] * bool(stale)
        raise CheckSkipped(
            f"golden bitstreams in {golden_folder(codec).name}/: {', '.join(lacking)} of {len(cases)}; "
            f"write them by: codecbench check {known_as(codec)} --update-golden"
        )


@check_of(needs=("check_points_constructible",), applies=lambda case: case.needs_fit)
def check_fit_repeats(_kit: Kit, case: KitCase) -> None:
    """Two fits with the same seed and data, without access to files and sockets, give the same states."""
    again = case.fit()
    for side, state in case.states.items():
        require(isinstance(state, bytes), f"export({side!r}) gives {type(state).__name__}, not bytes")
        require(state == again[side], f"two fits with one seed export different {side} states; draw from data.seed")


@check_of(needs=("check_fit_repeats",), applies=lambda case: case.needs_fit)
def check_fit_without_time(_kit: Kit, case: KitCase) -> None:
    """A fit without any time (`max_s` 0) leaves a codec that encodes and decodes."""
    states = case.fit(max_s=0.0)
    device, edge = case.make(), case.make()
    device.restore("device", states["device"])
    edge.restore("edge", states["edge"])
    for x in case.samples:
        _require_fits(case, edge.decode(device.encode(x)), x)


@check_of(
    needs=("check_points_constructible",),
    applies=lambda case: case.needs_fit and case.codec.works_unfitted(case.spec, **case.point),
)
def check_works_unfitted(_kit: Kit, case: KitCase) -> None:
    """A point that `works_unfitted` encodes and decodes with the states of an instance that was never fitted."""
    fresh, device, edge = case.make(), case.make(), case.make()
    device.restore("device", fresh.export("device"))
    edge.restore("edge", fresh.export("edge"))
    for x in case.samples:
        _require_fits(case, edge.decode(device.encode(x)), x)


@check_of(needs=("check_points_constructible", "check_fit_repeats"))
def check_sealed(_kit: Kit, case: KitCase) -> None:
    """Constructor, `restore`, `encode` and `decode` use no file, folder, socket, process or shared memory."""
    states = case.states
    xs = case.samples
    try:
        with sealed():
            device, edge = case.make(), case.make()
            device.restore("device", states["device"])
            edge.restore("edge", states["edge"])
            payloads = [device.encode(x) for x in xs]
            for payload in payloads:
                edge.decode(payload)
            edge.decode_batch(device.encode_batch(xs))
    except Exception as error:
        refused = _refusal(error)
        if refused is not None:
            raise CheckFailed(str(refused)) from error
        # Other errors have their own checks.


@check_of(needs=("check_sealed",))
def check_encode_gives_bytes(_kit: Kit, case: KitCase) -> None:
    """`encode` returns bytes."""
    device = case.side("device")
    for x in case.samples:
        payload = device.encode(x)
        require(type(payload) is bytes, f"encode gives {type(payload).__name__}, not bytes")


@check_of(needs=("check_encode_gives_bytes",))
def check_input_unmodified(_kit: Kit, case: KitCase) -> None:
    """`encode` and `encode_batch` do not change their input."""
    import torch

    device, xs, originals = case.side("device"), case.samples, case.samples
    device.encode_batch(xs)
    for x in xs:
        device.encode(x)
    same = all(torch.equal(x, original) for x, original in zip(xs, originals, strict=True))
    require(same, "encode changes its input; work on a copy")


@check_of(needs=("check_input_unmodified",))
def check_same_bytes(_kit: Kit, case: KitCase) -> None:
    """The same sample gives the same bytes: a second time, in another instance, and in another order."""
    first, other, xs = case.side("device"), case.side("device"), case.samples
    payloads = [first.encode(x) for x in xs]
    again = [first.encode(x) for x in xs]
    backwards = [other.encode(x) for x in reversed(xs)][::-1]
    require(payloads == again, "a second encode of the same sample gives other bytes")
    require(payloads == backwards, "a sample's bytes depend on what was encoded before it, or on the instance")


@check_of(needs=("check_same_bytes",))
def check_repr(_kit: Kit, case: KitCase) -> None:
    """The repr, evaluated with the class and TensorSpec, gives an instance with the same repr and the same payloads."""
    original = case.make()
    names = {case.codec.__name__: case.codec, "TensorSpec": TensorSpec}
    try:
        copy = eval(repr(original), names)  # noqa: S307 - a repr of the class under test
    except Exception as error:
        raise CheckFailed(f"repr {original!r} does not evaluate: {one_line(error)}") from error
    require(isinstance(copy, case.codec) and repr(copy) == repr(original), f"repr {original!r} evaluates to {copy!r}")
    copy.restore("device", case.states["device"])
    same = copy.encode(case.samples[0]) == case.payloads[0]
    require(same, f"repr {original!r} evaluates to a codec of other payloads; an argument is missing in it")


@check_of(needs=("check_same_bytes",))
def check_encode_batch(_kit: Kit, case: KitCase) -> None:
    """`encode_batch` returns a list with the same bytes as `encode`, for batches of up to 128 samples."""
    for pick in (*BATCHES, RUN_BATCH) if case.codec.encode_batch is not Codec.encode_batch else BATCHES:
        samples = case.samples
        batch, expected = [samples[i] for i in pick], [case.payloads[i] for i in pick]
        payloads = case.side("device").encode_batch(batch)
        text = f"encode_batch of {len(batch)} samples gives"
        require(isinstance(payloads, list) and len(payloads) == len(batch), f"{text} no list of {len(batch)} payloads")
        require(payloads == expected, f"{text} other bytes than encode")


@check_of(needs=("check_encode_gives_bytes", "check_input_unmodified"))
def check_decode_gives_tensor(_kit: Kit, case: KitCase) -> None:
    """`decode` returns a tensor of the sample's shape and the spec's dtype, on the CPU, with finite values."""
    for x, decoded in zip(case.samples, case.decoded, strict=True):
        _require_fits(case, decoded, x)


def _require_fits(case: KitCase, decoded: object, x: Tensor) -> None:
    import torch

    if not isinstance(decoded, torch.Tensor):
        raise CheckFailed(f"decode gives {type(decoded).__name__}, not a tensor")
    mismatch = case.spec.mismatch(decoded.shape, _dtype(decoded))
    require(not mismatch, f"decode gives a wrong tensor: {mismatch}")
    require(decoded.shape == x.shape, f"decode gives shape {tuple(decoded.shape)} for a sample of {tuple(x.shape)}")
    require(decoded.device.type == "cpu", f"decode gives a tensor on {decoded.device}, not on the CPU")
    finite = not decoded.is_floating_point() or bool(torch.isfinite(decoded).all())
    require(finite, "decode gives values that are not finite")


@check_of(
    needs=("check_encode_gives_bytes", "check_input_unmodified"),
    applies=lambda case: case.codec.bound_bytes is not Codec.bound_bytes,
)
def check_bound(_kit: Kit, case: KitCase) -> None:
    """If `bound_bytes` gives a Shannon bound, no payload exceeds it by more than 1 % and 4 bytes.

    The bytes for the length of a None axis are allowed in addition.
    """
    device = case.side("device")
    for x, payload in zip(case.samples, case.payloads, strict=True):
        bound = device.bound_bytes(x)
        if bound is None:
            raise CheckSkipped("no bound is given at this point")
        require(math.isfinite(bound) and bound >= 0, f"bound_bytes gives {bound}, no number of bytes")
        allowed = len(write_shape(case.spec, x.shape)) + BOUND_FACTOR * bound + BOUND_SLACK_BYTES
        require(len(payload) <= allowed, f"{len(payload)} bytes for a bound of {bound:.1f}; at most {allowed:.1f} pass")


@check_of(needs=("check_decode_gives_tensor",), applies=lambda case: "lossless" in case.codec.tags)
def check_lossless(_kit: Kit, case: KitCase) -> None:
    """A codec tagged "lossless" decodes every sample bit for bit, extreme values included."""
    device, edge = case.side("device"), case.side("edge")
    named = {**{f"sample {i}": x for i, x in enumerate(case.samples)}, **extremes(case.spec)}
    for name, x in named.items():
        decoded = edge.decode(device.encode(x.clone()))
        same = decoded.shape == x.shape and decoded.detach().numpy().tobytes() == x.numpy().tobytes()
        require(same, f"{name}: tagged lossless, but decode does not give the input back")


@check_of(needs=("check_decode_gives_tensor",))
def check_extreme_values(_kit: Kit, case: KitCase) -> None:
    """Zeros, constants, one huge value and denormals can be encoded, and decode to finite values of the right shape."""
    device, edge = case.side("device"), case.side("edge")
    for name, x in extremes(case.spec).items():
        try:
            decoded = edge.decode(device.encode(x.clone()))
        except Exception as error:
            raise CheckFailed(f"{name}: the codec raised {one_line(error)}") from error
        try:
            _require_fits(case, decoded, x)
        except CheckFailed as error:
            raise CheckFailed(f"{name}: {error}") from error


@check_of(needs=("check_decode_gives_tensor",))
def check_decode_batch(_kit: Kit, case: KitCase) -> None:
    """`decode_batch` returns the tensors of `decode`, within 1e-5 of the largest value, for up to 128 payloads."""
    for pick in (*BATCHES, RUN_BATCH) if case.codec.decode_batch is not Codec.decode_batch else BATCHES:
        batch, expected = [case.payloads[i] for i in pick], [case.decoded[i] for i in pick]
        together = case.side("edge").decode_batch(batch)
        text = f"decode_batch of {len(batch)} payloads gives"
        require(isinstance(together, list) and len(together) == len(batch), f"{text} no list of {len(batch)} tensors")
        for tensor, alone in zip(together, expected, strict=True):
            difference = case.close_enough(tensor.detach(), alone)
            require(not difference, f"{text} other tensors than decode: {difference}")


@check_of(needs=("check_decode_gives_tensor",))
def check_decode_gives_new_tensor(_kit: Kit, case: KitCase) -> None:
    """Decoding a payload again gives the same tensor, even if the first one was overwritten meanwhile."""
    edge = case.side("edge")
    payload = bytes(bytearray(case.payloads[0]))
    first = edge.decode(payload).detach()
    kept = first.clone()
    first.fill_(1)
    difference = case.close_enough(edge.decode(payload).detach(), kept)
    require(not difference, f"a second decode gives another tensor ({difference}); return a new one each time")


@check_of(needs=("check_same_bytes", "check_decode_gives_tensor"))
def check_state(_kit: Kit, case: KitCase) -> None:
    """A restored instance exports the same state, and an instance restored from that state works the same."""
    for side in ("device", "edge"):
        again = case.side(side).export(side)
        require(again == case.states[side], f"an instance restored from export({side!r}) exports another state")
    device, edge = case.side("device"), case.side("edge")
    for x, payload in zip(case.samples, case.payloads, strict=True):
        require(device.encode(x) == payload, "an instance restored again gives other payloads")
        _require_fits(case, edge.decode(payload), x)


@check_of(
    needs=("check_fit_without_time",), applies=lambda case: case.needs_fit and case.codec.complete is not Codec.complete
)
def check_compact_state(_kit: Kit, case: KitCase) -> None:
    """`complete`, called with what `compact` gave and with the tail, gives the state that `export("edge")` gave."""
    codec, tail = case.fitted(max_s=0.0)
    assert tail is not None
    with sealed():
        completed = case.make().complete(codec.compact(), tail)
    require(completed == codec.export("edge"), "complete() makes another state of compact() than export('edge') gives")


@check_of(needs=("check_same_bytes", "check_decode_gives_tensor"))
def check_other_process(kit: Kit, case: KitCase) -> None:
    """Payloads decode in another process, from their bytes alone.

    A sealed process encodes them and ends. Another one, with its own state and other home, temporary and working
    folders, decodes them in shuffled order to the same tensors as in this process.
    """
    result = kit.in_other_processes(case)
    if isinstance(result.payloads, CodecbenchError):
        raise CheckFailed(f"in an encoder process: {result.payloads}") from result.payloads
    require(result.payloads == case.payloads, "another process gives other bytes for the same samples")
    for index, expected in enumerate(case.decoded):
        decoded = result.decoded[index]
        if isinstance(decoded, CodecbenchError):
            raise CheckFailed(f"in a decoder process that has only the payload: {decoded}") from decoded
        difference = case.close_enough(decoded, expected)
        require(not difference, f"a decoder process that has only the payload gives another tensor: {difference}")


@check_of(needs=("check_other_process",))
def check_damaged_payloads(kit: Kit, case: KitCase) -> None:
    """Damaged payloads (cut, altered, random, inflating) raise an error or decode to a tensor that fits the spec.

    They never crash the process. Processor time is at most 3 times that of a valid decode, plus 2 s. Memory is at most
    1.5 times that of a valid decode, plus 16 times the tensor, plus 64 MiB (allocators reserve in large steps).
    """
    with kit.opened(case, "edge") as decoder:
        trial = Trial(decoder, case)
        for damage, payload in damaged(case.payloads):
            fault = trial.fault(payload)
            require(fault is None, f"{damage}: {fault}")
    if not trial.sees_memory:
        raise CheckSkipped("no crash and no hang; this system does not tell how much memory a process took")


def _refusal(error: BaseException | None) -> GuardError | None:
    """Return the GuardError among an error and its causes, or None: a library may have wrapped it."""
    while error is not None:
        if isinstance(error, GuardError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
