"""klt and klt-task at tensors of all kinds, what the tail's weights change, and what is refused."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.registered import CODECS, default_split_specs
from support.training import noise, training
from torch import Tensor

from codecbench import Codec, FitData, PayloadError, TensorSpec
from codecbench.kit.samples import extremes, fit_data, samples, spec_label

KLT = CODECS["klt"]
NAMES = ("klt", "klt-task")
FEATURES = TensorSpec((4, 8, 8))
SPECS = [
    TensorSpec((3, 32, 32), image=True),
    TensorSpec((1, 12, 20), image=True),
    TensorSpec((12, 9, 7)),
    TensorSpec((6, 10)),
    TensorSpec((5, None), max_length=60),
    TensorSpec((None, 5), max_length=60),
    TensorSpec((2, 9, None), max_length=40),
    TensorSpec((None, 2, 9), max_length=40),
    TensorSpec((2, 3, 8, 8)),
    TensorSpec((101,)),
    TensorSpec((None,), max_length=300),
    TensorSpec((4, 6, 6), "float16"),
    TensorSpec((4, 6, 6), "float64"),
]


def fitted(data: FitData, name: str = "klt", step: float = 0.5) -> tuple[Codec, Codec]:
    """Device and edge."""
    source, device, edge = (CODECS[name](data.spec, step=step) for _ in range(3))
    source.fit(data)
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


@lru_cache
def sides(spec: TensorSpec, name: str = "klt") -> tuple[Codec, Codec]:
    """Device and edge of a codec that was fitted on the kit's synthetic data."""
    return fitted(fit_data(spec), name)


def mean_bytes(device: Codec, xs: Tensor) -> float:
    return float(np.mean([len(payload) for payload in device.encode_batch(list(xs))]))


# --- tensors of all kinds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_batches_give_the_same_bytes_and_tensors(spec: TensorSpec, name: str) -> None:
    device, edge = sides(spec, name)
    xs = samples(spec, 3, seed=9)
    payloads = device.encode_batch(xs)
    assert payloads == [device.encode(x) for x in xs]
    for x, payload, y in zip(xs, payloads, edge.decode_batch(payloads), strict=True):
        assert (y.shape, y.dtype, y.is_contiguous()) == (x.shape, x.dtype, True)
        assert torch.equal(edge.decode(payload), y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_extreme_tensors_decode_to_finite_values(spec: TensorSpec, name: str) -> None:
    device, edge = sides(spec, name)
    for x in extremes(spec).values():
        y = edge.decode(device.encode(x))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.isfinite().all()


@pytest.mark.parametrize("spec", [spec for spec in SPECS if None in spec.shape], ids=spec_label)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_sequences(spec: TensorSpec, length: int) -> None:
    device, edge = sides(spec)
    x = torch.zeros(tuple(length if n is None else n for n in spec.shape))
    assert edge.decode(device.encode(x)).shape == x.shape


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_payloads_are_near_their_bound(spec: TensorSpec) -> None:
    device, _ = sides(spec)
    for x in samples(spec, 3, seed=9):
        length_bytes = 1 if None in spec.shape else 0
        bound_bytes = device.bound_bytes(x)
        assert bound_bytes is not None
        assert bound_bytes - 1 <= len(device.encode(x)) - length_bytes <= 1.01 * bound_bytes + 4


@pytest.mark.parametrize("shape", [(7,), (5, 11), (2, 9, 3), (2, 3, 4, 5)])
def test_a_fine_step_restores_any_shape(shape: tuple[int, ...]) -> None:
    xs = noise(20, *shape)
    device, edge = fitted(training(xs), step=0.05)
    for x in xs[:3]:
        # A step of 0.05 errs by 0.05 / sqrt(12) = 0.014 of the deviation of all values, which is 1.
        assert (edge.decode(device.encode(x)) - x).pow(2).mean().sqrt() < 0.03


def test_constants_take_no_byte() -> None:
    device, edge = fitted(training(torch.full((20, 4, 4, 4), 3.7)))
    assert device.encode(noise(4, 4, 4)) == b""
    assert torch.allclose(edge.decode(b""), torch.tensor(3.7), rtol=1e-3)


# --- few training samples


@pytest.mark.parametrize("name", NAMES)
def test_fewer_samples_than_values_do_not_lose_the_others(name: str) -> None:
    """Principal axes of 60 samples in 256 dimensions would lose most of any other sample."""
    xs = noise(100, 256)
    device, edge = fitted(training(xs[:60], lambda x: x), name)
    errors = [float((edge.decode(device.encode(x)) - x).square().mean()) for x in xs[60:]]
    assert np.mean(errors) < 0.1


# --- sensitivity of the tail


def test_a_tail_that_sees_means_alone_is_sent_means_alone() -> None:
    xs, mix = 1 + noise(400, 80, 6, 6), noise(80, 80, seed=1)
    data = training(xs, lambda x: torch.tanh(x.mean((2, 3)) @ mix / 9))
    device, edge = fitted(data, "klt-task", 0.2)
    decoded = [edge.decode(device.encode(x)) for x in xs[:20]]
    means = xs.mean((2, 3))
    errors = torch.stack([y[:, 0, 0] for y in decoded]) - means[:20]
    assert all(torch.equal(y, y[:, :1, :1].expand(80, 6, 6)) for y in decoded)
    assert errors.square().mean() < 0.1 * means.var(0).mean()
    assert mean_bytes(device, xs[:20]) < 0.2 * mean_bytes(fitted(data, step=0.2)[0], xs[:20])


def test_a_tail_of_few_directions_is_sent_only_these() -> None:
    xs = noise(300, 4, 8, 8).relu()
    data = training(xs, lambda x: x.mean((2, 3))[:, :2])
    device, edge = fitted(data, "klt-task", 0.25)
    plain, _ = fitted(data, "klt", 0.25)
    assert mean_bytes(device, xs) < 4 < mean_bytes(plain, xs) / 10
    restored = torch.stack(edge.decode_batch(device.encode_batch(list(xs))))
    error, spread = data.tail(restored) - data.tail(xs), data.tail(xs).std(0)
    assert (error.pow(2).mean(0).sqrt() < 0.2 * spread).all()
    assert len(device.export("device")) < 1500


def test_the_error_goes_where_a_nonlinear_tail_does_not_look() -> None:
    xs = noise(400, 2, 16, 16)
    mix = noise(256, 256, seed=1)
    data = training(xs, lambda x: torch.tanh(x[:, 0].flatten(1) @ mix / 16).square())
    device, edge = fitted(data, "klt-task", 0.5)
    errors = (torch.stack(edge.decode_batch(device.encode_batch(list(xs)))) - xs).pow(2).mean((0, 2, 3))
    assert errors[0] < errors[1] / 4


def test_a_tail_without_derivatives_gives_the_plain_transform() -> None:
    data = training(noise(60, 4, 4, 4), lambda x: x.argmax(1))
    assert fitted(data, "klt-task")[0].export("device") == fitted(data, "klt")[0].export("device")


# --- points, and what is refused


@pytest.mark.parametrize("name", NAMES)
def test_points_go_from_coarse_to_fine_at_every_split(name: str) -> None:
    for spec in default_split_specs().values():
        points = CODECS[name].points_for(spec)
        assert 6 <= len(points) <= 10
        assert all(coarser["step"] > finer["step"] for coarser, finer in pairwise(points))
        (quick,) = CODECS[name].quick_points_for(spec)
        assert quick in points


def test_skips_say_why() -> None:
    assert "floating-point" in (KLT.skip_reason(TensorSpec((4, 8, 8), "int8")) or "")
    assert "2048 channels" in (KLT.skip_reason(TensorSpec((4096, 4, 4))) or "")
    assert "axis" in (KLT.skip_reason(TensorSpec(())) or "")
    assert "step" in (KLT.skip_reason(FEATURES, step=0.0) or "")
    assert KLT.skip_reason(TensorSpec((100_000,))) is None


def test_values_that_are_not_finite_are_refused() -> None:
    device, _ = sides(FEATURES)
    with pytest.raises(ValueError, match="not finite"):
        device.encode(torch.full((4, 8, 8), torch.nan))


def test_a_codec_without_its_state_says_so() -> None:
    with pytest.raises(RuntimeError, match="fitted"):
        KLT(FEATURES).encode(torch.zeros(4, 8, 8))
    with pytest.raises(RuntimeError, match="fitted"):
        KLT(FEATURES).decode(b"")


@pytest.mark.parametrize("payload", [b"\0", bytes(200_000), b"\1" * 200_000], ids=["zero", "zeros", "long"])
def test_foreign_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        sides(FEATURES)[1].decode(payload)
