"""deepcod-rd at large feature maps: fits on frequency bands, exact symbols, and states without a large tail."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from support.registered import CODECS
from support.training import noise, on_virtual_clock, training
from torch import Tensor, fx, nn

from codecbench import Codec, FitData, TensorSpec
from codecbench.measure import torch_threads
from codecbench.toolbox.learning.state import State
from codecbench_plugins.deepcod_rd.bands import RememberingTeacher
from codecbench_plugins.deepcod_rd.sizes import banded_tiling

RD = CODECS["deepcod-rd"]
SPEC = TensorSpec((96, 14, 14))
STEP = 8.0


def tail(width: int, activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(96, 64, 3, 2, 1), activation, nn.Conv2d(64, width, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(width, 20),
    )  # fmt: skip
    module = fx.symbolic_trace(nn.Sequential(*layers).eval())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
    return module.requires_grad_(False)


TAILS = {"small": tail(64, nn.ReLU()), "large": tail(2048, nn.ReLU()), "unknown": tail(64, nn.GELU())}


def samples(count: int, seed: int = 0) -> Tensor:
    smooth = noise(8, 196, seed=1) * torch.linspace(1, 0.1, 8)[:, None]
    return torch.einsum("nkc,kp->ncp", noise(count, 8, 96, seed=seed), smooth).relu().view(count, *SPEC.max_shape)


def data(kind: str, max_s: float) -> FitData:
    made = dataclasses.replace(training(samples(48)), spec=SPEC, tail=TAILS[kind], held_out_count=48)
    return on_virtual_clock(made, max_s)


@cache
def fitted(kind: str, max_s: float = 0.6) -> Codec:
    codec = RD(SPEC, step=STEP, edge="steered")
    codec.fit(data(kind, max_s))
    return codec


def restored(kind: str, edge: str = "steered") -> tuple[Codec, Codec]:
    """Device and edge, the edge by its compact state."""
    source, device, decoder = fitted(kind), *(RD(SPEC, step=STEP, edge=edge) for _ in range(2))
    device.restore("device", source.export("device"))
    decoder.restore("edge", decoder.complete(source.compact(), TAILS[kind]))
    return device, decoder


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        (TensorSpec((3, 224, 224), image=True), (8, 8)),
        (TensorSpec((64, 56, 60)), (8, 8)),
        (TensorSpec((512, 28, 20)), (14, 10)),
        (TensorSpec((2048, 7, 7)), (7, 7)),
    ],
)
def test_blocks_are_equal_and_smaller_where_channels_are_few(spec: TensorSpec, sizes: tuple[int, int]) -> None:
    assert banded_tiling(spec).sizes == sizes


@pytest.mark.parametrize("kind", TAILS)
def test_a_large_map_is_there_and_back(kind: str) -> None:
    device, edge = restored(kind)
    xs = samples(12, seed=5)
    payloads = [device.encode(x) for x in xs]
    assert np.mean([len(payload) for payload in payloads]) < 1000
    decoded = torch.stack(edge.decode_batch(payloads))
    same = (TAILS[kind](decoded).argmax(1) == TAILS[kind](xs).argmax(1)).float().mean()
    assert same >= 0.75
    assert torch.equal(edge.decode(payloads[3]), decoded[3])


def test_a_map_of_one_block_is_there_and_back() -> None:
    spec = TensorSpec((130, 12, 12))
    layers = nn.Conv2d(130, 16, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    torch.manual_seed(0)
    module = fx.symbolic_trace(nn.Sequential(*layers).eval()).requires_grad_(False)
    xs = noise(24, *spec.max_shape).relu()
    codec = RD(spec, step=STEP, edge="steered")
    made = dataclasses.replace(training(xs), spec=spec, tail=module, held_out_count=24)
    codec.fit(on_virtual_clock(made, 0.3))
    device, edge = (RD(spec, step=STEP, edge="steered") for _ in range(2))
    device.restore("device", codec.export("device"))
    edge.restore("edge", edge.complete(codec.compact(), module))
    payload = device.encode(xs[0])
    assert torch.equal(edge._read(memoryview(payload), spec.max_shape), device._symbols(xs[0]))
    assert torch.equal(edge.decode(payload), codec.decode(payload))


@pytest.mark.parametrize("kind", TAILS)
def test_a_completed_state_is_the_exported_one(kind: str) -> None:
    codec = fitted(kind)
    compact, full = codec.compact(), codec.export("edge")
    assert RD(SPEC, step=STEP, edge="steered").complete(compact, TAILS[kind]) == full
    tail_bytes = 2 * sum(p.numel() for p in TAILS[kind].parameters())
    left_out = len(full) - len(compact)
    assert left_out > 0.99 * tail_bytes if kind == "large" else left_out == 0


def test_symbols_arrive_and_depend_on_no_threads() -> None:
    device, edge = restored("small")
    xs = samples(6, seed=7)
    with torch_threads(1):
        alone = [device.encode(x) for x in xs]
    with torch_threads(2):
        assert device.encode_batch(list(xs)) == alone
    for x, payload in zip(xs, alone, strict=True):
        arrived = edge._read(memoryview(payload), SPEC.max_shape)
        assert (arrived != device._symbols(x)).float().mean() < 0.02, "few symbols lie beyond the tables"
        assert device._prior.encode(arrived.numpy().astype(np.int32)) == payload


def test_without_time_a_fit_is_the_start() -> None:
    codec = fitted("small", 0.0)
    assert codec.bound_bytes(samples(1)[0]) > 0
    assert State.from_bytes(codec.export("device")).about["step"] == STEP


def test_a_plain_edge_takes_no_step() -> None:
    device, steered = restored("small")
    _, plain = restored("small", "plain")
    for edge in (steered, plain):
        with torch.no_grad():
            for parameter in edge._decoder.tail.parameters():  # as training changes it
                parameter.mul_(1.5)
    payload = device.encode(samples(1, seed=8)[0])
    assert not torch.equal(plain.decode(payload), steered.decode(payload))


def test_training_lowers_the_loss() -> None:
    texts: list[str] = []
    source = dataclasses.replace(data("small", 5.0), progress=lambda _share, text: texts.append(text))
    RD(SPEC, step=STEP, edge="steered").fit(source)
    losses = [float(text.split("loss ")[1].split(",")[0]) for text in texts if text.startswith("held out")]
    assert min(losses) < losses[0]


def test_a_large_picture_is_there_and_back() -> None:
    """Each frequency has a matrix of its own, and the copy of the tail also sees the mirror image."""
    spec = TensorSpec((3, 80, 80), image=True)
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    module = fx.symbolic_trace(nn.Sequential(*layers).eval()).requires_grad_(False)
    coarse = noise(40, 3, 5, 5).sigmoid()
    xs = (nn.functional.interpolate(coarse, (80, 80), mode="bilinear") * 255).round() / 255
    source = dataclasses.replace(training(xs[:32]), spec=spec, tail=module, max_s=5.0, remaining_s=lambda: 0.0)
    codec, device, edge = (RD(spec, step=1.0, edge="steered") for _ in range(3))
    codec.fit(source)
    device.restore("device", codec.export("device"))
    edge.restore("edge", codec.export("edge"))
    payloads = [device.encode(x) for x in xs[32:]]
    assert np.mean([len(payload) for payload in payloads]) < 400
    for x, y in zip(xs[32:], edge.decode_batch(payloads), strict=True):
        assert y.shape == x.shape
        assert 0 <= y.min() <= y.max() <= 1
        assert (y - x).square().mean() < 0.5 * x.var()


def test_a_teacher_runs_once_for_each_sample() -> None:
    runs: list[int] = []

    class Counted(nn.Module):
        def forward(self, xs: Tensor) -> Tensor:
            runs.append(len(xs))
            return xs.flatten(1).cumsum(1)

    teacher, xs = RememberingTeacher(Counted()), noise(6, 2, 3, 3)
    first = teacher(xs[:4]).outputs[0]
    again = teacher(xs[[5, 3, 0, 5]]).outputs[0]
    assert runs == [4, 2]
    assert torch.equal(again[1:3], first[[3, 0]])
    assert torch.equal(again[0], again[3])
    assert torch.equal(again[0], xs[5].flatten().cumsum(0))


@pytest.mark.parametrize("kind", TAILS)
def test_a_coarser_point_starts_from_the_finer_ones_fit(kind: str) -> None:
    """Without time to train, it has that fit's matrices in its own steps, and its trained copy of the tail."""
    fine = fitted(kind, 5.0)
    coarse = RD(SPEC, step=1.5 * STEP, edge="steered")
    coarse.fit(dataclasses.replace(data(kind, 0.0), start=(fine.export("device"), fine.export("edge"))))
    for theirs, ours in zip(fine._transform.matrices(), coarse._transform.matrices(), strict=True):
        assert torch.allclose(theirs / 1.5, ours, atol=1e-3 * float(ours.abs().max()))
    assert len(coarse._transform.kept) <= len(fine._transform.kept)
    if fine._decoder.tail is not None:
        for theirs, ours in zip(fine._decoder.tail.parameters(), coarse._decoder.tail.parameters(), strict=True):
            assert torch.equal(theirs, ours)
    xs = list(samples(12, seed=5))
    payloads = [coarse.encode(x) for x in xs]
    assert sum(map(len, payloads)) < sum(len(fine.encode(x)) for x in xs)
    decoded, known = TAILS[kind](torch.stack(coarse.decode_batch(payloads))), TAILS[kind](torch.stack(xs))
    assert (decoded.argmax(1) == known.argmax(1)).float().mean() >= 0.6


def test_points_of_large_maps_are_their_own() -> None:
    coarse, fine = RD.points_for(SPEC)
    assert RD.starts_from(SPEC, **fine) is None
    assert RD.starts_from(SPEC, **coarse) == fine
    assert RD.quick_points_for(SPEC) == (fine,)
    steps = [point["step"] for point in RD.points_for(SPEC)]
    assert steps == sorted(steps, reverse=True)
