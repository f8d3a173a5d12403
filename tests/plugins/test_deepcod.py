"""deepcod: its sizes at a fixed rate, what its training holds to, its symbols, and what its points start from."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import noise, training
from torch import Tensor

from codecbench import FitData, PayloadError, TensorSpec
from codecbench.kit.samples import extremes, fit_data, samples, spec_label
from codecbench.toolbox.learning.state import State
from codecbench.toolbox.learning.trainer import Schedule, train
from codecbench_plugins import deepcod
from codecbench_plugins.deepcod import Deepcod
from codecbench_plugins.deepcod.coding import pack, unpack
from codecbench_plugins.deepcod.network import batch_for, clipped_gradient, kernels
from codecbench_plugins.deepcod.objective import ORTHOGONALITY_WEIGHT, DeepcodObjective

FEATURES = TensorSpec((4, 8, 8))
IMAGE = TensorSpec((3, 32, 32), image=True)
SPECS = [
    IMAGE,
    TensorSpec((1, 13, 22), image=True),
    FEATURES,
    TensorSpec((300, 6, 5)),
    TensorSpec((12, 40)),
    TensorSpec((10,)),
    TensorSpec((None, 6), max_length=20),
    TensorSpec((3, None), max_length=30),
    TensorSpec((None,), max_length=50),
]


def point(spec: TensorSpec, **changed: Any) -> dict[str, Any]:
    return {**Deepcod.points_for(spec)[2], **changed}


def fitted(data: FitData, **changed: Any) -> tuple[Deepcod, Deepcod]:
    """Device and edge, each restored from its own state."""
    source, device, edge = (Deepcod(data.spec, **point(data.spec, **changed)) for _ in range(3))
    source.fit(data)
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


@lru_cache
def sides(spec: TensorSpec, coding: str = "fixed", levels: int = 8, max_s: float = 1.0) -> tuple[Deepcod, Deepcod]:
    return fitted(fit_data(spec, max_s=max_s), coding=coding, levels=levels)


def objective(spec: TensorSpec) -> tuple[DeepcodObjective, FitData]:
    data, codec = fit_data(spec, max_s=100.0), Deepcod(spec, **point(spec))
    return DeepcodObjective(data, codec._geometry, codec._latents(), codec.levels, {}), data


# --- payloads


@pytest.mark.parametrize("levels", [4, 6, 8, 16])
@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_at_a_fixed_rate_payloads_are_as_long_as_their_symbols(spec: TensorSpec, levels: int) -> None:
    device, _ = sides(spec, levels=levels, max_s=0.0)
    tiling = deepcod.tiling_of(spec)
    latents = max(int(tiling.values(spec.max_shape) * point(spec)["ratio"]), 1)
    for x in samples(spec, 3, seed=5):
        symbols = latents * tiling.count(x.shape)
        header = 1 if None in spec.shape else 0
        assert len(device.encode(x)) == header + math.ceil(symbols * math.ceil(math.log2(levels)) / 8)


def test_an_image_takes_three_bits_for_each_output_of_a_4_by_4_convolution() -> None:
    device, _ = sides(IMAGE, max_s=0.0)
    assert len(device.encode(samples(IMAGE, 1)[0])) == 64 * int(48 * point(IMAGE)["ratio"]) * 3 // 8


@given(st.integers(2, deepcod.MAX_LEVELS), st.data())
def test_packed_symbols_come_back(levels: int, data: st.DataObject) -> None:
    symbols = torch.tensor(data.draw(st.lists(st.integers(0, levels - 1), max_size=40)), dtype=torch.int32).numpy()
    packed = pack(symbols, levels)
    assert len(packed) == math.ceil(len(symbols) * math.ceil(math.log2(levels)) / 8)
    assert unpack(packed, levels, len(symbols)).tolist() == symbols.tolist()
    with pytest.raises(PayloadError):
        unpack(packed + b"\0", levels, len(symbols))


def test_damaged_payloads_are_refused() -> None:
    device, edge = sides(FEATURES, levels=6, max_s=0.0)
    payload = device.encode(samples(FEATURES, 1)[0])
    for damaged in (b"\xff" * len(payload), payload[:-1], payload + b"\0"):
        with pytest.raises(PayloadError):
            edge.decode(damaged)
    with pytest.raises(PayloadError, match="symbol 7 is not below 6"):
        unpack(b"\xe0", 6, 1)
    with pytest.raises(PayloadError, match="behind the last symbol"):
        unpack(b"\x01", 8, 2)


def test_entropy_coding_is_smaller_where_most_symbols_are_alike() -> None:
    xs = noise(120, 4, 8, 8) * (noise(120, 1, 1, 1, seed=1) > 1.3)
    data = dataclasses.replace(training(xs, lambda x: x.flatten(1)[:, :4]), max_s=0.0, remaining_s=lambda: 0.0)
    fixed, entropy = (fitted(data, coding=coding)[0] for coding in ("fixed", "entropy"))
    total = {device.coding: sum(map(len, device.encode_batch(list(xs)))) for device in (fixed, entropy)}
    assert total["entropy"] < 0.6 * total["fixed"]
    bound = entropy.bound_bytes(xs[0])
    assert bound is not None
    assert len(entropy.encode(xs[0])) <= 1.01 * bound + 4
    assert fixed.bound_bytes(xs[0]) is None


# --- symbols


@pytest.mark.parametrize("coding", ["fixed", "entropy"])
@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_the_edge_reads_the_symbols_of_the_device(spec: TensorSpec, coding: str) -> None:
    device, edge = sides(spec, coding)
    xs = samples(spec, 64 if spec == FEATURES else 6, seed=3)
    payloads = device.encode_batch(xs)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert [device.encode(x) for x in xs] == payloads
            for x, payload in zip(xs, payloads, strict=True):
                body = memoryview(payload)[1 if None in spec.shape else 0 :]
                assert edge._read(body, x.shape).tolist() == device._symbols(x).tolist()
    finally:
        torch.set_num_threads(threads)
    for x, payload, y in zip(xs, payloads, edge.decode_batch(payloads), strict=True):
        assert (y.shape, y.dtype, y.is_contiguous()) == (x.shape, x.dtype, True)
        torch.testing.assert_close(edge.decode(payload), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_symbols_name_the_nearest_centre(spec: TensorSpec) -> None:
    device, edge = sides(spec)
    assert device._transform is not None
    assert edge._centres is not None
    x = samples(spec, 1, seed=8)[0]
    grid = device._transform.components(x[None], device._geometry(x.shape), spec.image)
    nearest = (grid[..., None] - edge._centres).abs().argmin(-1)
    assert (nearest == torch.from_numpy(device._symbols(x))).float().mean() > 0.999


@pytest.mark.parametrize("levels", [2, 8, 64])
def test_many_components_have_the_symbols_of_few(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = sides(IMAGE, levels=levels)
    assert device._thresholds is not None
    for x in (*samples(IMAGE, 3, seed=9), *extremes(IMAGE).values()):
        searched = device._symbols(x)
        with monkeypatch.context() as patched:
            patched.setattr("codecbench_plugins.deepcod.coding.MANY_COMPONENTS", 0)
            compared = device._symbols(x)
        assert compared.dtype == searched.dtype
        assert (compared == searched).all()


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_what_is_decoded_keeps_to_the_range_of_training(spec: TensorSpec) -> None:
    device, edge = sides(spec)
    low, high = edge._limits
    assert not spec.image or (low, high) == (0.0, 1.0)
    for x in extremes(spec).values():
        y = edge.decode(device.encode(x))
        assert y.shape == x.shape
        assert low <= float(y.min()) <= float(y.max()) <= high


def test_a_tensor_of_length_zero_is_its_length() -> None:
    spec = TensorSpec((None, 6), max_length=20)
    for coding in ("fixed", "entropy"):
        device, edge = sides(spec, coding)
        assert edge.decode(device.encode(torch.zeros(0, 6))).shape == (0, 6)
        with pytest.raises(PayloadError):
            edge.decode(b"\0\1")


# --- training


def test_the_orthogonality_penalty_of_every_kernel_is_in_the_loss() -> None:
    """All else is the same for a kernel of any scale, so the gradient along it is the penalty's."""
    made, data = objective(FEATURES)
    found = kernels(made.network)
    assert len(found) > 10
    with torch.no_grad():
        for kernel in found:
            kernel.matrix.mul_(1.5)
    xs, _ = next(data.batches(16))
    loss, _ = made.loss(xs, torch.Generator())
    gradients = torch.autograd.grad(loss, [kernel.matrix for kernel in found])
    for kernel, gradient in zip(found, gradients, strict=True):
        rank = min(kernel.matrix.shape)
        along = float((gradient * kernel.matrix.detach()).sum())
        assert along == pytest.approx(ORTHOGONALITY_WEIGHT * rank * 1.25 * 2 * 2.25, rel=0.05)


def test_the_measurement_stays_of_norm_one_and_its_rows_nearly_orthogonal() -> None:
    made, data = objective(FEATURES)
    train(made, data, Schedule(1600, rate=3e-3))
    model = made.model
    measurement = model.folded() * model.deviation / model.gain
    assert float(torch.linalg.matrix_norm(measurement, 2)) <= 1.05
    gram = measurement @ measurement.T
    assert float((gram - torch.eye(len(gram))).abs().max()) < 0.3


def test_symbols_pass_on_the_gradient_of_the_soft_assignment() -> None:
    made, _ = objective(FEATURES)
    model, components = made.model, noise(2, 3, 5).requires_grad_()
    given = model.quantised(components)
    distances = (components.detach()[..., None] - model.centres.detach()).abs()
    assert torch.equal(given, model.centres[distances.argmin(-1)])
    soft = torch.softmax(-(components[..., None] - model.centres).square() / model._temperature, -1) @ model.centres
    wanted = torch.autograd.grad(soft.square().sum() / 2, [components, model.centres], grad_outputs=None)
    weights = soft.detach()
    found = torch.autograd.grad((given * weights).sum(), [components, model.centres])
    for mine, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, reference)
        assert float(mine.abs().max()) > 0.01


def test_the_gradient_into_the_reconstruction_is_clipped() -> None:
    x = torch.ones(4, requires_grad=True)
    (long,) = torch.autograd.grad((clipped_gradient(x, 1.0) * 100).sum(), x)
    (short,) = torch.autograd.grad((clipped_gradient(x, 1.0) * 0.1).sum(), x)
    assert float(long.norm()) == pytest.approx(1.0)
    assert short.tolist() == pytest.approx([0.1] * 4)


def test_training_brings_what_the_tail_sees_nearer_to_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    xs = (noise(256, 6) @ noise(6, 256, seed=1)).reshape(256, 4, 8, 8)
    data, others = training(xs[:224], lambda x: x.flatten(1)[:, :8]), xs[224:]

    def error(steps: int) -> float:
        monkeypatch.setitem(deepcod.SAMPLES, "thin", 32 * steps)
        device, edge = fitted(data)
        decoded = torch.stack(edge.decode_batch(device.encode_batch(list(others))))
        return float((data.tail(decoded) - data.tail(others)).square().mean())

    assert error(60) < 0.3 * error(1)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_features_of_any_scale_are_learned_alike(scale: float) -> None:
    xs = noise(64, 4, 8, 8)

    def decoded(scale: float) -> Tensor:
        data = training(xs * scale, lambda x: x.flatten(1)[:, :4] / scale)
        device, edge = fitted(dataclasses.replace(data, max_s=0.0, remaining_s=lambda: 0.0))
        return edge.decode(device.encode(xs[0] * scale)) / scale

    torch.testing.assert_close(decoded(scale), decoded(1.0), rtol=0.01, atol=0.01)


# --- points


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_points_start_from_others_without_a_circle(spec: TensorSpec) -> None:
    points = Deepcod.points_for(spec)
    assert [one["coding"] for one in points] == ["fixed", "entropy"] * (len(points) // 2)
    assert [one["ratio"] for one in points] == sorted(one["ratio"] for one in points)
    first = [one for one in points if Deepcod.starts_from(spec, **one) is None]
    assert len(first) == 1
    for fixed, entropy in zip(points[::2], points[1::2], strict=True):
        assert Deepcod.starts_from(spec, **entropy) == fixed
        assert fixed in first or Deepcod.starts_from(spec, **fixed) == first[0]
    assert Deepcod.starts_from(spec, **{**points[-1], "coding": "fixed", "levels": 4}) == first[0]


def test_an_entropy_coded_point_has_the_networks_of_the_fixed_one() -> None:
    fixed, _ = sides(FEATURES)
    source = Deepcod(FEATURES, **point(FEATURES, levels=8))
    source.fit(fit_data(FEATURES, max_s=1.0))
    start = (source.export("device"), source.export("edge"))
    device, edge = fitted(dataclasses.replace(fit_data(FEATURES), start=start), coding="entropy", levels=8)
    for before, after in zip(start, (device.export("device"), edge.export("edge")), strict=True):
        old, new = State.from_bytes(before), State.from_bytes(after)
        assert set(new.tensors) - set(old.tensors) == {"prior", "is_context", "commonest"}
        assert all(torch.equal(new.tensors[name], tensor) for name, tensor in old.tensors.items())
    x = samples(FEATURES, 1)[0]
    assert device._symbols(x).tolist() == fixed._symbols(x).tolist()


def test_more_levels_start_from_the_networks_of_fewer() -> None:
    few, _ = sides(IMAGE)
    start = (few.export("device"), sides(IMAGE)[1].export("edge"))
    data = dataclasses.replace(fit_data(IMAGE, max_s=0.0), start=start)
    device, edge = fitted(data, levels=16)
    before, after = (one._transform for one in (few, device))
    assert before is not None
    assert after is not None
    torch.testing.assert_close(after.matrix(), before.matrix(), rtol=1e-3, atol=1e-4)
    old, new = State.from_bytes(start[1]).tensors, State.from_bytes(edge.export("edge")).tensors
    torch.testing.assert_close(new["centres"][[0, -1]], old["centres"][[0, -1]], rtol=1e-6, atol=1e-6)
    assert len(new["centres"]) == 16
    assert bool((new["centres"].diff() > 0).all())


def test_another_ratio_starts_from_the_weights_that_fit() -> None:
    source = Deepcod(FEATURES, **point(FEATURES))
    source.fit(fit_data(FEATURES, max_s=2.0))
    start = (source.export("device"), source.export("edge"))
    _, edge = fitted(dataclasses.replace(fit_data(FEATURES, max_s=0.0), start=start), ratio=0.3)
    old, new = State.from_bytes(start[1]).tensors, State.from_bytes(edge.export("edge")).tensors
    name = "network.last.kernel.matrix"
    torch.testing.assert_close(new[name].float(), old[name].float(), rtol=0.02, atol=0.02)
    broken = dataclasses.replace(fit_data(FEATURES, max_s=0.0), start=(b"", b"none"))
    assert fitted(broken)[0].encode(samples(FEATURES, 1)[0])


@pytest.mark.parametrize(
    ("spec", "changed", "reason"),
    [
        (FEATURES, {"ratio": 0}, "ratio is a number over 0"),
        (FEATURES, {"ratio": 1.5}, "ratio is a number over 0"),
        (FEATURES, {"levels": 1}, "levels is a whole number from 2"),
        (FEATURES, {"levels": 65}, "levels is a whole number from 2"),
        (FEATURES, {"coding": "huffman"}, "coding is 'fixed' or 'entropy'"),
        (TensorSpec((4, 8, 8), "float16"), {}, "needs float32 values, got float16"),
        (TensorSpec(()), {}, "has an axis"),
        (TensorSpec((4, 0, 8)), {}, "not empty"),
        (TensorSpec((4096, 8, 8)), {}, "at most 2048 channels, got 4096"),
    ],
)
def test_what_it_does_not_take(spec: TensorSpec, changed: dict[str, Any], reason: str) -> None:
    assert reason in (Deepcod.skip_reason(spec, **point(FEATURES, **changed)) or "")


def test_states_of_other_networks_are_refused() -> None:
    source = Deepcod(FEATURES, **point(FEATURES))
    source.fit(fit_data(FEATURES, max_s=0.0))
    other = Deepcod(FEATURES, **point(FEATURES, levels=4))
    with pytest.raises(ValueError, match="levels"):
        other.restore("edge", source.export("edge"))
    coded = Deepcod(FEATURES, **point(FEATURES, coding="entropy"))
    with pytest.raises(ValueError, match="no prior"):
        coded.restore("device", source.export("device"))
    with pytest.raises(ValueError, match="lacks"):
        source.restore("edge", source.export("device"))
    with pytest.raises(RuntimeError, match="has to be fitted"):
        Deepcod(FEATURES, **point(FEATURES)).encode(samples(FEATURES, 1)[0])


@given(st.floats(-1e30, 1e30), st.floats(-(2.0**99), 2.0**99, width=32))
def test_thresholds_of_another_type_part_its_numbers_alike(threshold: float, value: float) -> None:
    (rounded,) = deepcod.rounded_down(torch.tensor([threshold], dtype=torch.float64), torch.float32)
    assert bool(torch.tensor(value, dtype=torch.float32) > rounded) == (value > threshold)
    near = float(torch.tensor(threshold, dtype=torch.float32))
    assert bool(torch.tensor(near, dtype=torch.float32) > rounded) == (near > threshold)


@pytest.mark.parametrize(("side", "batch"), [(32, 32), (224, 32), (512, 1)])
def test_batches_are_as_large_as_attention_allows(side: int, batch: int) -> None:
    spec = TensorSpec((3, side, side), image=True)
    assert batch_for(Deepcod(spec)._geometry(spec.max_shape), 32) == batch
