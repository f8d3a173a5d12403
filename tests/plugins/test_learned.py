"""deepcod-rd and ae-plus at tensors of all kinds: exact symbols, neighbours' starts, pruned and rounded encoders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.registered import CODECS, default_split_specs
from support.traced import tail_at
from support.training import noise, on_virtual_clock, training
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from codecbench import Codec, FitData, PayloadError, TensorSpec
from codecbench.kit.samples import FIT_SAMPLES, extremes, fit_data, samples, spec_label
from codecbench.measure import torch_threads
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.rates import quantise_dead_zone
from codecbench.toolbox.learning.state import State
from codecbench.toolbox.transforms.tiling import Tiling
from codecbench_plugins.ae_plus import KEPT_SHARE
from codecbench_plugins.ae_plus.network import MAX_WEIGHT, Encoder, widths

RD, AE = CODECS["deepcod-rd"], CODECS["ae-plus"]
NAMES = ("deepcod-rd", "ae-plus")
SPECS = [
    TensorSpec((1, 12, 20), image=True),
    TensorSpec((12, 9, 7)),
    TensorSpec((6, 10)),
    TensorSpec((None, 5), max_length=20),
    TensorSpec((2, 9, None), max_length=12),
    TensorSpec((None, 2, 9), max_length=12),
    TensorSpec((2, 3, 8, 8)),
    TensorSpec((101,)),
    TensorSpec((None,), max_length=40),
    TensorSpec((None,), max_length=10),
]
"""The kit's linear tail sees few directions of those whose length is fixed: there, one block is the tensor."""

TILED = {"image": "input", "features": "fine"}
"""Splits of a network that sees many directions of what crosses there, so that blocks tile it."""


def fitted(data: FitData, name: str, **point: Any) -> tuple[Codec, Codec]:
    """Device and edge."""
    torch.manual_seed(0)
    source, device, edge = (CODECS[name](data.spec, **point) for _ in range(3))
    source.fit(data)
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


@cache
def sides(spec: TensorSpec, name: str) -> tuple[Codec, Codec]:
    """Fitted on the kit's synthetic data, for a few steps."""
    return fitted(fit_data(spec, max_s=0.3), name)


def task_data(kind: str, max_s: float = 0.6) -> FitData:
    """Samples at a split of a traced network."""
    tail, spec = tail_at(TILED[kind], (3, 16, 16))
    data = training(pictures(48) if spec.image else noise(48, *spec.max_shape).relu())
    return on_virtual_clock(dataclasses.replace(data, spec=spec, tail=tail), max_s)


def from_scratch(spec: TensorSpec, name: str) -> Mapping[str, Any]:
    """The coarsest point that starts from no other."""
    return next(point for point in CODECS[name].points_for(spec) if CODECS[name].starts_from(spec, **point) is None)


def batch_of(xs: list[Tensor]) -> Tensor | list[Tensor]:
    """As `FitData.batches` yields them: a tensor if all have one shape."""
    return torch.stack(xs) if len({x.shape for x in xs}) == 1 else xs


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.stack(samples(TensorSpec((3, 16, 16), image=True), count, seed))


@cache
def tiled(kind: str, name: str) -> tuple[Codec, Codec]:
    """Fitted where blocks tile the tensor."""
    data = task_data(kind)
    return fitted(data, name, **from_scratch(data.spec, name))


# --- tensors of all kinds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_any_tensor_is_there_and_back(spec: TensorSpec, name: str) -> None:
    device, edge = sides(spec, name)
    xs = [*samples(spec, 4, seed=9), *extremes(spec).values()]
    payloads = device.encode_batch(xs)
    for x, payload, y in zip(xs, payloads, edge.decode_batch(payloads), strict=True):
        assert (y.shape, y.dtype, y.is_contiguous()) == (x.shape, x.dtype, True)
        assert y.isfinite().all()
        assert torch.allclose(edge.decode(payload), y, rtol=1e-3, atol=1e-3)
        bound_bytes = device.bound_bytes(x)
        assert bound_bytes is not None
        assert bound_bytes - 1 <= len(payload) - (None in spec.shape) <= 1.01 * bound_bytes + 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [spec for spec in SPECS if None in spec.shape], ids=spec_label)
def test_short_sequences(spec: TensorSpec, name: str) -> None:
    device, edge = sides(spec, name)
    for length in (0, 1, 2):
        x = torch.zeros(tuple(length if n is None else n for n in spec.shape))
        assert edge.decode(device.encode(x)).shape == x.shape
    with pytest.raises(PayloadError, match="empty"):
        edge.decode(b"\0\1")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TILED)
def test_a_tensor_of_blocks_is_there_and_back(kind: str, name: str) -> None:
    device, edge = tiled(kind, name)
    assert None not in device.spec.shape
    assert device._geometry(device.spec.max_shape).is_one_block is False
    xs = list(pictures(4, 5)) if device.spec.image else list(noise(4, *device.spec.max_shape, seed=5).relu())
    for x in [*xs, *extremes(device.spec).values()]:
        y = edge.decode(device.encode(x))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.isfinite().all()
    assert len(device.encode(xs[0])) > 10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TILED)
def test_symbols_depend_on_neither_batch_nor_threads(kind: str, name: str) -> None:
    device, edge = tiled(kind, name)
    xs = pictures(6, 3) if device.spec.image else noise(6, *device.spec.max_shape, seed=3).relu()
    geometry, found = device._geometry(xs.shape[1:]), []
    for count in (1, 2):
        with torch_threads(count):
            found.append(torch.stack([device._symbols(x) for x in xs]))
            if name == "ae-plus":
                found.append(device._encoder(xs, geometry, device.spec.image))
            else:  # exact sums, in another order
                whole = device._transform.integers(xs, device.spec.image)
                blocks = geometry.blocks(geometry.planes(whole)).double()
                latents = blocks @ device._transform.weight.double().T - device._transform.offset.double()
                found.append(quantise_dead_zone(geometry.to_grid(latents / device._transform.scale.double())).float())
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert found[0].unique().numel() > 3
    for x, symbols in zip(xs, found[0], strict=True):  # those within the tables are what the edge reads
        read = edge._read(device.encode(x), x.shape)
        assert float((read == symbols).float().mean()) > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [TensorSpec((6, 10)), TensorSpec((None, 5), max_length=20)], ids=spec_label)
def test_without_time_a_fit_is_usable(spec: TensorSpec, name: str) -> None:
    device, edge = fitted(fit_data(spec, max_s=0.0), name)
    for x in samples(spec, 3):
        y = edge.decode(device.encode(x))
        assert y.shape == x.shape
        assert y.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_repeats(name: str) -> None:
    first, second = (fitted(fit_data(TensorSpec((10,)), max_s=0.5), name) for _ in range(2))
    assert first[0].export("device") == second[0].export("device")
    assert first[1].export("edge") == second[1].export("edge")


@pytest.mark.parametrize(
    "spec", [TensorSpec((6, 10)), TensorSpec((10,)), TensorSpec((None, 2), max_length=12)], ids=spec_label
)
def test_without_training_deepcod_rd_is_the_weighted_transform(spec: TensorSpec) -> None:
    """Fine steps restore what the tail looks at, of samples whose symbols are in the tables."""
    data = dataclasses.replace(fit_data(spec, max_s=1e6), remaining_s=lambda: 0.0)
    device, edge = fitted(data, "deepcod-rd", step=0.02)
    xs = samples(spec, FIT_SAMPLES, seed=1)
    # What all classes have in common is nothing to their probabilities, and so is not sent.
    target, predicted = (
        scores - scores.mean(1, keepdim=True)
        for scores in (data.tail(batch_of(ys)) for ys in (xs, edge.decode_batch(device.encode_batch(xs))))
    )
    assert (predicted - target).square().mean().sqrt() < 0.03 * target.std()


# --- starts from neighbours


@pytest.mark.parametrize("at", [0, 1])
def test_a_start_is_the_scaled_neighbour(at: int) -> None:
    first, first_edge = tiled("features", "deepcod-rd")
    point = [point for point in RD.points_for(first.spec) if point["step"] != first.step][at]
    assert RD.starts_from(first.spec, **point) == first.point
    finer = first.step / point["step"]
    data = dataclasses.replace(task_data("features", 0.0), start=(first.export("device"), first_edge.export("edge")))
    device, edge = fitted(data, "deepcod-rd", **point)
    assert device._prior.channels == first._prior.channels
    xs = noise(30, *first.spec.max_shape, seed=4).relu()
    geometry = first._geometry(xs.shape[1:])
    latents = torch.stack([first._transform.components(x, geometry, image=False) for x in xs])
    apart = torch.stack([device._symbols(x) for x in xs]) - quantise_dead_zone(latents * finer)
    assert float((apart == 0).float().mean()) > 0.95
    assert float((apart.abs() <= 1).float().mean()) > 0.999
    with torch.no_grad():
        predicted, _ = edge._decoder(quantise_dead_zone(latents * finer), geometry)
        target, _ = first_edge._decoder(quantise_dead_zone(latents * finer) / finer, geometry)
    assert (predicted - target).square().mean().sqrt() < 0.01 * target.std()
    # The scales are the neighbour's as well, in steps of another length.
    weights, before = device._prior.floating_weights(), first._prior.floating_weights()
    assert np.allclose(weights[:, 0], finer * before[:, 0], rtol=0.05, atol=0.02)
    assert np.allclose(weights[:, 1:], before[:, 1:], rtol=0.05, atol=0.002)


@pytest.mark.parametrize("kind", TILED)
def test_an_autoencoder_starts_as_another_point_left_it(kind: str) -> None:
    """Its latents are the same at all steps; weights and channels stay compressed."""
    first, first_edge = tiled(kind, "ae-plus")
    point = AE.points_for(first.spec)[1]
    assert AE.starts_from(first.spec, **point) == first.point
    data = dataclasses.replace(task_data(kind, 0.0), start=(first.export("device"), first_edge.export("edge")))
    device, edge = fitted(data, "ae-plus", **point)
    xs = pictures(30, seed=4) if kind == "image" else noise(30, *first.spec.max_shape, seed=4).relu()
    symbols, before = (torch.stack([codec._symbols(x) for x in xs]) for codec in (device, first))
    assert before.unique().numel() > 3
    assert float((symbols == before).float().mean()) > 0.97
    assert float((symbols - before).abs().max()) <= 1
    sizes = [[len(weight) for weight in codec._encoder.weights] for codec in (device, first)]
    assert sizes[0] == sizes[1]
    grid = before[:1]
    with torch.no_grad():
        assert torch.equal(
            edge._decoder(grid, device._geometry(xs.shape[1:]))[0],
            first_edge._decoder(grid, device._geometry(xs.shape[1:]))[0],
        )


def test_a_further_fit_of_an_autoencoder_trains_it_on() -> None:
    first, first_edge = tiled("features", "ae-plus")
    data = dataclasses.replace(task_data("features"), start=(first.export("device"), first_edge.export("edge")))
    device, edge = fitted(data, "ae-plus", **first.point)
    assert edge.export("edge") != first_edge.export("edge")
    assert [w.shape for w in device._encoder.weights] == [w.shape for w in first._encoder.weights]


@pytest.mark.parametrize("name", NAMES)
def test_all_points_start_from_the_one_that_is_fitted_from_scratch(name: str) -> None:
    for spec in default_split_specs().values():
        codec = CODECS[name]
        points, first = codec.points_for(spec), from_scratch(spec, name)
        assert [codec.starts_from(spec, **point) for point in points if point != first] == [first] * (len(points) - 1)


# --- the edge of deepcod-rd


def test_a_plain_edge_has_the_same_states_and_payloads_and_takes_no_step() -> None:
    device, steered = tiled("image", "deepcod-rd")
    assert (steered.point.get("edge"), RD.implied) == (None, {"edge": "steered"})
    assert RD.unfitted == {"edge"}
    plain = RD(device.spec, **{**device.point, "edge": "plain"})
    plain.restore("edge", steered.export("edge"))
    payloads = device.encode_batch(list(pictures(3, seed=7)))
    decoder: Any = plain._decoder
    for payload, y in zip(payloads, plain.decode_batch(payloads), strict=True):
        grid = plain._read(memoryview(payload), y.shape)
        with torch.no_grad():
            expected = decoder(grid[None], plain._geometry(y.shape))[0].clamp(*plain._limits)[0]
        assert torch.allclose(y, expected, atol=1e-6)
        assert not torch.equal(steered.decode(payload), y)


def test_the_full_preset_has_a_plain_edge_at_each_step() -> None:
    spec = TensorSpec((3, 16, 16), image=True)
    assert RD.further_points_for(spec) == tuple({**point, "edge": "plain"} for point in RD.points_for(spec))
    assert RD.starts_from(spec, step=0.5, edge="plain") == {"step": 0.65}
    assert RD.skip_reason(spec, step=0.5, edge="dull") == "edge is 'plain' or 'steered', not 'dull'"


# --- the encoder of ae-plus

GEOMETRIES = {
    "image": (Tiling((1, 2), (8, 8)), (3, 16, 16)), "features": (Tiling((1, 2), (4, 4)), (6, 8, 12)),
    "odd": (Tiling((1, 2), (3, 6)), (4, 9, 12)), "sequence": (Tiling((0,), (16,)), (40, 5)),
    "whole": (Tiling.one_block((4, 4, 4)), (4, 4, 4)), "places": (Tiling((1, 2), (1, 1)), (8, 3, 3)),
}  # fmt: skip


def encoder_at(case: str) -> tuple[Encoder, Geometry, Tensor]:
    """An encoder as it is behind training: peaks are known, and weights have moved."""
    tiling, shape = GEOMETRIES[case]
    geometry = Geometry(tiling, shape)
    xs = pictures(40) if case == "image" else 3 * noise(40, *shape).relu() + 0.5
    torch.manual_seed(1)
    mean = round(float(xs.mean()) * 255) / 255 if case == "image" else float(xs.mean())
    encoder = Encoder(geometry, widths(geometry, 8, 12), mean, float(xs.std())).train()
    encoder.scale_output(xs, geometry)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.bias.add_(0.1 * torch.randn(layer.bias.shape))
        encoder(xs, geometry)
        encoder.compress(KEPT_SHARE)
    return encoder.eval(), geometry, xs


@pytest.mark.parametrize("case", GEOMETRIES)
def test_whole_numbers_give_the_symbols_of_the_trained_encoder(case: str) -> None:
    encoder, geometry, xs = encoder_at(case)
    device = encoder.integers(case == "image", float(xs.abs().max()))
    with torch.no_grad():
        trained, given = quantise_dead_zone(encoder(xs, geometry)), device(xs, geometry, case == "image")
    assert float((given == trained).float().mean()) >= 0.99
    assert float((given - trained).abs().max()) <= 1
    assert trained.unique().numel() > 3


@pytest.mark.parametrize("case", GEOMETRIES)
def test_pruned_channels_are_cut_out(case: str) -> None:
    encoder, *_ = encoder_at(case)
    weights = [w for n, w in encoder.integers(case == "image", 1.0).tensors().items() if n.startswith("weight")]
    assert len(weights) == len(encoder.layers)
    for weight in weights:
        assert weight.dtype == torch.int8
        assert int(weight.abs().max()) == MAX_WEIGHT
    for weight, following, layer in zip(weights[:-1], weights[1:], encoder.layers[:-1], strict=True):
        kept = math.ceil(KEPT_SHARE * len(layer.weight))
        assert len(weight) == following.shape[1] == kept < len(layer.weight)


def test_the_channels_with_the_least_weights_are_pruned() -> None:
    tiling, shape = GEOMETRIES["features"]
    geometry = Geometry(tiling, shape)
    encoder = Encoder(geometry, widths(geometry, 8, 12), 0.0, 1.0)
    with torch.no_grad():
        encoder.layers[0].weight[2].mul_(1e-3)
        encoder.layers[1].weight[:, 5].mul_(1e-3)
    encoder.compress(KEPT_SHARE)
    assert encoder.kept0.tolist() == [1, 1, 0, 1, 1, 0, 1, 1]


@pytest.mark.parametrize("kind", TILED)
def test_what_the_device_holds_is_pruned_and_of_8_bits(kind: str) -> None:
    tensors = State.from_bytes(tiled(kind, "ae-plus")[0].export("device")).tensors
    weights = [tensors[name] for name in sorted(tensors) if name.startswith("weight")]
    assert all(weight.dtype == torch.int8 for weight in weights)
    assert [tuple(weight.shape[:2]) for weight in weights] == [(36, weights[0].shape[1]), (72, 36), (48, 72)]


def test_deepcod_rd_burdens_the_device_less_than_an_autoencoder() -> None:
    flop = {}
    for name in NAMES:
        device, _ = tiled("image", name)
        with FlopCounterMode(display=False) as counter:
            device.encode(pictures(1)[0])
        flop[name] = counter.get_total_flops()
    assert 0 < flop["deepcod-rd"] < flop["ae-plus"] / 2


# --- points, and what is refused


@pytest.mark.parametrize("name", NAMES)
def test_points_go_from_coarse_to_fine_at_every_split(name: str) -> None:
    for spec in default_split_specs().values():
        points = CODECS[name].points_for(spec)
        assert all(coarser["step"] > finer["step"] for coarser, finer in pairwise(points))
        (quick,) = CODECS[name].quick_points_for(spec)
        assert quick in points
        assert all(CODECS[name].skip_reason(spec, **point) is None for point in points)


@pytest.mark.parametrize("name", NAMES)
def test_skips_say_why(name: str) -> None:
    codec = CODECS[name]
    for dtype in ("int8", "float16", "float64"):
        assert codec.skip_reason(TensorSpec((4, 8, 8), dtype)) == f"needs float32 values, got {dtype}"
    assert "2048 channels" in (codec.skip_reason(TensorSpec((4096, 4, 4))) or "")
    for empty in (TensorSpec(()), TensorSpec((0, 3)), TensorSpec((None,), max_length=0)):
        assert "axis" in (codec.skip_reason(empty) or "")
    for step in (0.0, -1.0, 1e9, "1"):
        assert "step" in (codec.skip_reason(TensorSpec((4, 8, 8)), step=step) or "")
    assert codec.skip_reason(TensorSpec((100_000,))) is None


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    device, _ = sides(TensorSpec((6, 10)), name)
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="not finite"):
            device.encode(torch.full((6, 10), value))


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_without_its_state_says_so(name: str) -> None:
    device, edge = sides(TensorSpec((6, 10)), name)
    empty = CODECS[name](TensorSpec((6, 10)))
    assert empty.export("device") == empty.export("edge") == b""
    with pytest.raises(RuntimeError, match="fitted"):
        empty.encode(torch.zeros(6, 10))
    with pytest.raises(RuntimeError, match="fitted"):
        empty.decode(b"")
    with pytest.raises(RuntimeError, match="fitted"):
        device.decode(device.encode(torch.zeros(6, 10)))
    with pytest.raises(RuntimeError, match="fitted"):
        edge.encode(torch.zeros(6, 10))


@pytest.mark.parametrize("name", NAMES)
def test_states_that_are_none_are_refused(name: str) -> None:
    device, edge = sides(TensorSpec((6, 10)), name)
    states = {"device": device.export("device"), "edge": edge.export("edge")}
    for side, state in states.items():
        for damaged in (b"", state[:-9], b"\0" * 99, State({"tiling": [[], []]}).to_bytes()):
            with pytest.raises((ValueError, PayloadError)):
                CODECS[name](device.spec).restore(side, damaged)
    for side, state in (("device", states["edge"]), ("edge", states["device"])):
        with pytest.raises(ValueError, match="missing"):
            CODECS[name](device.spec).restore(side, state)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("payload", [b"\0", bytes(20_000), b"\1" * 20_000], ids=["zero", "zeros", "long"])
def test_foreign_payloads_are_refused(payload: bytes, name: str) -> None:
    with pytest.raises(PayloadError):
        sides(TensorSpec((6, 10)), name)[1].decode(payload)
