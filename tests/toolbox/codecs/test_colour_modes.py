"""The choice of a mode by quality: from rates and errors, in a fit, and where there are no training samples."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.registered import CODECS

from codecbench import Codec, TensorSpec
from codecbench.kit.samples import fit_data, samples
from codecbench.toolbox.codecs import ColourPictureCodec, ModesByQuality

IMAGE, GREY = TensorSpec((3, 32, 32), image=True), TensorSpec((1, 32, 32), image=True)
FEATURES = TensorSpec((4, 8, 8))
NAMES = ("jpeg-huffman", "webp", "avif")
TRIED = (0, 50, 100)

every_codec = pytest.mark.parametrize("name", NAMES)


def curve(scale: float, floor: float = 0.0) -> list[tuple[float, float]]:
    """Rates and errors at TRIED of a mode that takes `scale` times the bytes, and whose errors stay above `floor`."""
    return [(scale * 10 * 2 ** (quality / 25), 100 / 2 ** (quality / 25) + floor) for quality in TRIED]


def fitted(*curves: list[tuple[float, float]]) -> tuple[tuple[int, int], ...]:
    return ModesByQuality.fitted(curves, TRIED, 100).runs


# --- the table


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 4)), min_size=1, unique_by=lambda run: run[0]))
def test_a_table_survives_its_bytes(runs: list[tuple[int, int]]) -> None:
    table = ModesByQuality(sorted(runs))
    again = ModesByQuality.from_bytes(table.to_bytes(), 5)
    assert [again.mode(q) for q in range(101)] == [table.mode(q) for q in range(101)]


@pytest.mark.parametrize("state", [b"", b"\x05", b"\x05\x00\x05\x01", b"\x09\x00\x05\x01", b"\x64\x02"])
def test_a_damaged_table_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="no table of modes"):
        ModesByQuality.from_bytes(state, 2)


def test_the_mode_of_a_run_holds_up_to_its_last_quality() -> None:
    table = ModesByQuality([(20, 1), (60, 0)])
    assert [table.mode(q) for q in (0, 20, 21, 60, 100)] == [1, 1, 0, 0, 0]


def test_the_mode_with_fewer_bytes_serves_all_qualities() -> None:
    assert fitted(curve(1.0), curve(0.9)) == ((100, 1),)
    assert fitted(curve(0.9), curve(1.0)) == ((100, 0),)


def test_a_difference_within_the_margin_changes_no_mode() -> None:
    assert len(fitted(curve(1.0), curve(0.999))) == 1


def test_errors_and_not_qualities_are_compared() -> None:
    """A mode whose quality means another step is the same mode: it is on the same curve."""
    shifted = [(1.5 * size, error / 1.5) for size, error in curve(1.0)]
    assert len(fitted(curve(1.0), shifted)) == 1
    worse = [(1.6 * size, error / 1.5) for size, error in curve(1.0)]
    assert fitted(curve(1.0), worse) == ((100, 0),)


def test_a_mode_that_stops_at_an_error_is_left_before_it() -> None:
    """As halved chroma: cheaper, until its error grows no smaller."""
    (last, first), (end, second) = fitted(curve(1.0), curve(0.8, floor=5.0))
    assert (first, second, end) == (1, 0, 100)
    assert 20 <= last <= 90


def test_an_error_that_no_other_reaches_is_no_fault_of_a_mode() -> None:
    fine = curve(1.3)
    coarse = [(size, max(error, 20.0)) for size, error in curve(1.0)]
    assert fitted(coarse, fine)[-1] == (100, 1)


# --- fits


@every_codec
def test_a_fit_tries_all_modes_and_both_sides_hold_its_table(name: str) -> None:
    codec = make(name, quality=60)
    codec.fit(fit_data(IMAGE, max_s=20))
    assert codec.export("device") == codec.export("edge")
    assert 2 <= len(codec.export("edge")) <= 24
    coarser = make(name, quality=20)
    coarser.fit(fit_data(IMAGE, max_s=20))
    assert coarser.export("edge") == codec.export("edge"), "one fit serves all qualities"
    assert set(CODECS[name].point_defaults(IMAGE)) - CODECS[name].unfitted <= {"tables", "edge"}


@every_codec
def test_every_mode_decodes_to_the_picture(name: str) -> None:
    x = samples(IMAGE, 1)[0]
    for mode in range(make(name).mode_count()):
        device, edge = make(name, quality=90), make(name, quality=90)
        for side in (device, edge):
            side.use_modes(ModesByQuality([(100, mode)]))
        y = edge.decode(device.encode(x))
        assert y.shape == x.shape
        assert float((y - x).square().mean()) < 0.003


@every_codec
def test_a_fitted_codec_takes_no_more_bytes_at_its_error(name: str) -> None:
    """The fitted mode of a quality is on the lower hull of the modes, on the images of the fit."""
    codec = make(name, quality=75)
    codec.fit(fit_data(IMAGE, max_s=20))
    pictures = [codec.picture(x.numpy()) for x in next(fit_data(IMAGE).batches(32))[0]]
    size, error = codec._tried(pictures, codec.mode, 75)
    for mode in range(codec.mode_count()):
        for quality in range(60, 90, 10):
            other_size, other_error = codec._tried(pictures, mode, quality)
            assert other_error > error or other_size > 0.94 * size


@every_codec
def test_other_tensors_are_not_fitted(name: str) -> None:
    codec = CODECS[name]
    point = codec.quick_points_for(FEATURES)[0]
    assert not codec.needs_fit(FEATURES, **point)
    assert not codec.needs_fit(GREY, **codec.quick_points_for(GREY)[0])
    assert codec.needs_fit(IMAGE, **codec.quick_points_for(IMAGE)[0])
    assert codec(GREY, edge="steered").shared_state() == b""


@every_codec
def test_without_time_and_without_a_fit_the_constants_serve(name: str) -> None:
    fresh, timeless = make(name), make(name)
    timeless.fit(fit_data(IMAGE, max_s=0.0))
    assert timeless.export("edge") == fresh.export("edge") == ModesByQuality(fresh.unfitted_modes()).to_bytes()
    x = samples(IMAGE, 1)[0]
    assert torch.equal(fresh.decode(fresh.encode(x)), timeless.decode(timeless.encode(x)))
    assert CODECS[name].works_unfitted(IMAGE)
    assert not CODECS[name].works_unfitted(IMAGE, edge="steered")


@every_codec
def test_a_steered_point_has_the_table_of_the_plain_one(name: str) -> None:
    plain = make(name)
    plain.fit(fit_data(IMAGE, max_s=20))
    state = plain.export("device")
    steered = make(name, edge="steered")
    steered.fit(dataclasses.replace(fit_data(IMAGE), start=(state, plain.export("edge"))))
    assert steered.export("device") == state
    assert state in steered.export("edge")


def test_large_pictures_are_tried_on_few_images() -> None:
    spec = TensorSpec((3, 512, 512), image=True)
    codec: Any = CODECS["webp"](spec)
    images = torch.zeros(6, 3, 512, 512)
    data = dataclasses.replace(fit_data(IMAGE), batches=lambda size: iter([(images[:size], [0] * 6)]))
    assert len(codec._training_pictures(data)) == 2


def test_noise_of_any_size_fits_into_an_optimised_jpeg() -> None:
    spec = TensorSpec((3, 256, 256), image=True)
    noise = torch.randint(0, 256, spec.max_shape, generator=torch.Generator().manual_seed(0)).float() / 255
    for progressive in (0, 6):
        codec: Any = CODECS["jpeg-huffman"](spec, quality=95, tables="own")
        codec.use_modes(ModesByQuality([(100, 2 + progressive)]))
        assert math.sqrt(float((codec.decode(codec.encode(noise)) - noise).square().mean())) < 0.05


def make(name: str, **point: Any) -> Any:
    codec: type[Codec] = CODECS[name]
    assert issubclass(codec, ColourPictureCodec)
    return codec(IMAGE, **point)
