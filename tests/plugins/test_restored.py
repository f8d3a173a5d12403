"""restored: the payloads of picture codecs, and a network on the edge that starts by changing nothing."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from support.registered import CODECS
from support.traced import tail_at
from support.training import on_virtual_clock, training

from codecbench import Codec, FitData, PayloadError, TensorSpec
from codecbench.kit.samples import samples
from codecbench.toolbox.coding import read_pair, write_pair
from codecbench.toolbox.learning import State, Teacher
from codecbench.toolbox.learning.teacher import tail_loss
from codecbench_plugins import deepcod_rd, restored

RESTORED = CODECS["restored"]
pytestmark = pytest.mark.skipif(bool(RESTORED.unavailable()), reason=RESTORED.unavailable() or "")

PLAIN = {"avif": ("avif", {}), "jpeg": ("jpeg-huffman", {"tables": "shared"}), "webp": ("webp", {})}
"""The codec of each format, by `picture`."""
SPECS = {
    "colour": TensorSpec((3, 16, 16), image=True),
    "grey, no whole blocks": TensorSpec((1, 13, 21), image=True),
    "one pixel": TensorSpec((3, 1, 1), image=True),
}
every_picture = pytest.mark.parametrize("picture", PLAIN)


def test_its_network_and_its_training_are_as_large_as_those_of_deepcod_rd() -> None:
    assert (restored.WIDTH, restored.DEPTH) == (deepcod_rd.WIDTH, deepcod_rd.DEPTH)
    assert deepcod_rd.SAMPLES["image"] == restored.SAMPLES


def scores(xs: torch.Tensor) -> torch.Tensor:
    return xs.flatten(1)[:, :3]


def data_for(max_s: float) -> FitData:
    """Pictures before a traced network, on a virtual clock."""
    tail, spec = tail_at("input", (3, 16, 16))
    with torch.no_grad():
        tail.get_submodule("classifier").weight.mul_(100)  # so that classes differ between pictures
    data = dataclasses.replace(training(torch.stack(samples(spec, 48, 0))), spec=spec, tail=tail)
    return on_virtual_clock(data, max_s)


def fitted(data: FitData, **point: Any) -> Codec:
    torch.manual_seed(0)
    source, codec = RESTORED(data.spec, **point), RESTORED(data.spec, **point)
    source.fit(data)
    codec.restore("device", source.export("device"))
    codec.restore("edge", source.export("edge"))
    return codec


@cache
def trained_once() -> Codec:
    return fitted(data_for(2.0), picture="webp", quality=5)


@cache
def trained(edge: str) -> Codec:
    source = trained_once()
    codec = RESTORED(source.spec, **{**source.point, "edge": edge})
    codec.restore("device", source.export("device"))
    codec.restore("edge", source.export("edge"))
    return codec


def plain(codec: Codec) -> Codec:
    """The codec of the format, with the state that its own fit within this codec's has made."""
    name, own = PLAIN[codec.picture]
    found = CODECS[name](codec.spec, **own, quality=codec.quality)
    found.restore("device", codec.export("device"))
    return found


@every_picture
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_without_training_it_is_the_picture_codec(spec: TensorSpec, picture: str) -> None:
    data = dataclasses.replace(
        training(torch.stack(samples(spec, 8, 0)), scores), spec=spec, max_s=0.0, remaining_s=lambda: 0.0
    )
    codec = fitted(data, picture=picture, quality=40, edge="plain")
    for x in samples(spec, 3, 1):
        payload = codec.encode(x)
        assert payload == plain(codec).encode(x)
        assert torch.allclose(codec.decode(payload), plain(codec).decode(payload), atol=1e-3)


def test_training_brings_the_tails_output_nearer() -> None:
    data = data_for(0.0)
    teacher = Teacher(data.tail)
    xs = torch.stack(samples(data.spec, 48, 0))

    def loss(codec: Codec) -> float:
        decoded = torch.stack([codec.decode(codec.encode(x)) for x in xs])
        with torch.no_grad():
            return float(tail_loss(teacher(decoded), teacher(xs)))

    restored = loss(trained("plain"))
    assert restored < loss(plain(trained("plain")))
    assert loss(trained("steered")) != restored


def test_both_edges_have_the_same_state_and_payloads() -> None:
    x = samples(trained("plain").spec, 1, 3)[0]
    payload = trained("plain").encode(x)
    assert trained("steered").encode(x) == payload
    assert not torch.equal(trained("steered").decode(payload), trained("plain").decode(payload))
    assert RESTORED.unfitted == {"edge"}


def test_another_quality_starts_from_the_trained_network() -> None:
    first = trained("plain")
    start = (first.export("device"), first.export("edge"))
    untrained = dataclasses.replace(data_for(0.0), start=start)
    codec = fitted(untrained, picture="webp", quality=20)
    weights = [State.from_bytes(read_pair(c.export("edge"))[1]).tensors for c in (first, codec)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_each_format_has_one_point_that_is_fitted_from_scratch() -> None:
    starts = {tuple(point.values()): RESTORED.starts_from(SPECS["colour"], **point) for point in RESTORED.points}
    scratch = [point for point, start in starts.items() if start is None]
    assert sorted(picture for picture, _ in scratch) == sorted(PLAIN)
    assert all(start is None or (start["picture"], start["quality"]) in scratch for start in starts.values())


@pytest.mark.parametrize(
    ("spec", "point", "reason"),
    [
        (TensorSpec((8, 4, 4)), {}, "needs an image"),
        (TensorSpec((2, 8, 8), image=True), {}, "1 or 3 channels"),
        (SPECS["colour"], {"picture": "png"}, "picture is one of avif, jpeg, webp, not 'png'"),
        (SPECS["colour"], {"picture": "jpeg", "quality": 0}, "quality is a number from 1 to 100, not 0"),
        (SPECS["colour"], {"edge": "helped"}, "edge is 'plain' or 'steered', not 'helped'"),
    ],
)
def test_what_it_does_not_take(spec: TensorSpec, point: dict[str, Any], reason: str) -> None:
    assert reason in (RESTORED.skip_reason(spec, **{**RESTORED.points[0], **point}) or "")


def test_states_and_payloads_that_are_none() -> None:
    codec = RESTORED(SPECS["colour"], **RESTORED.points[0])
    with pytest.raises(RuntimeError, match="has to be fitted"):
        codec.decode(b"")
    own, network = read_pair(trained("plain").export("edge"))
    for state in (b"", b"\x05ab", write_pair(own, b""), write_pair(own, network[:-9])):
        with pytest.raises(ValueError, match="state"):
            codec.restore("edge", state)
    other = RESTORED(SPECS["grey, no whole blocks"], **trained("plain").point)
    with pytest.raises(ValueError, match="another network"):
        other.restore("edge", trained("plain").export("edge"))
    with pytest.raises((PayloadError, OSError)):
        trained("plain").decode(b"no picture")
