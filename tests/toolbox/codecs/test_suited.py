"""Points that suit a tensor by its statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import DATA
from support.registered import CODECS

from codecbench import Codec, TensorSpec, TensorStatistics
from codecbench.toolbox.codecs import range_factor, steps, suited_steps
from codecbench.toolbox.codecs.suited import MARGIN, SAFE_STEP, TAILED, step_factor


def spec_of(shape: tuple[int | None, ...], spread: float, effective: float, **fields: Any) -> TensorSpec:
    """A spec whose samples span `spread` deviations and have so many effective values."""
    spec = TensorSpec(shape, **fields)
    values = 1.0
    for n in spec.max_shape:
        values *= n
    return replace(spec, statistics=TensorStatistics(32, values, 0.0, spread, 0.5, 1.0, 0.0, spread, effective))


RESNET: Mapping[str, TensorSpec] = {
    "input": spec_of((3, 32, 32), 3.7, 9.0, image=True),
    "stem": spec_of((16, 32, 32), 6.8, 40.0),
    "stage1": spec_of((16, 32, 32), 8.1, 280.0),
    "stage2": spec_of((32, 16, 16), 8.3, 300.0),
    "stage3": spec_of((64, 8, 8), 11.4, 70.0),
}
"""The tensors of the default workload, as measured on several sets of its training images."""
DIGITS: Mapping[str, TensorSpec] = {
    "input": spec_of((1, 8, 8), 2.6, 14.0),
    "first": spec_of((128,), 5.0, 7.3),
    "second": spec_of((32,), 3.5, 5.0),
}
"""The tensors of a classifier of digits: a network of three layers."""
TUNED = json.loads((DATA / "tuned-points.json").read_text())
"""The points of codecs at the default splits, as they were before there were statistics."""
TUNED_CODECS = {name: CODECS[name] for name in {label.split()[0] for label in TUNED}}


def labels(points: tuple[Mapping[str, Any], ...]) -> str:
    return " ".join(",".join(f"{key}={value}" for key, value in point.items()) for point in points)


@pytest.mark.parametrize("split", RESNET)
@pytest.mark.parametrize("known", [True, False], ids=("with statistics", "without"))
def test_the_tuned_tensors_keep_their_points(split: str, known: bool) -> None:
    """Keys of records and shipped states depend on them."""
    spec = RESNET[split] if known else replace(RESNET[split], statistics=None)
    for name, codec in TUNED_CODECS.items():
        tuned = TUNED[f"{name} {split.replace('stem', 'stage1')}"]
        assert labels((*codec.points_for(spec), *codec.further_points_for(spec))) == tuned["full"], name
        assert labels(codec.quick_points_for(spec)) == tuned["quick"], name


@pytest.mark.parametrize("spec", DIGITS.values(), ids=DIGITS)
@pytest.mark.parametrize(
    "name", ["klt", "klt-task", "quant-rans", "zstd", "cs-dct", "cs-wavelet", "deepcod-rd", "ae-plus"]
)
def test_steps_for_small_tensors_are_finer(spec: TensorSpec, name: str) -> None:
    codec = CODECS[name]
    quick, tuned = (codec.quick_points_for(each)[0]["step"] for each in (spec, replace(spec, statistics=None)))
    assert SAFE_STEP * 0.7 <= quick <= max(0.45 * tuned, SAFE_STEP)
    assert all(point in codec.points_for(spec) for point in codec.quick_points_for(spec))
    assert len(set(map(str, codec.points_for(spec)))) == len(codec.points_for(spec))


@pytest.mark.parametrize("spec", DIGITS.values(), ids=DIGITS)
@pytest.mark.parametrize("name", ["deepcod-rd", "ae-plus", "deepcod"])
def test_learned_codecs_start_from_one_of_their_points(spec: TensorSpec, name: str) -> None:
    codec = CODECS[name]
    points = [{**codec.point_defaults(spec), **point} for point in codec.points_for(spec)]
    starts = [codec.starts_from(spec, **point) for point in points]
    assert starts.count(None) == 1
    assert all({**codec.point_defaults(spec), **start} in points for start in starts if start is not None)


def test_blocks_of_few_values_have_more_channels() -> None:
    codec: type[Codec] = CODECS["deepcod"]
    assert {point["ratio"] for point in codec.points_for(DIGITS["first"])} == {0.12}
    assert {point["ratio"] for point in codec.points_for(RESNET["stage3"])} == {0.02}


def test_heavy_tails_get_more_levels() -> None:
    codec = CODECS["quant-huffman"]
    wide = spec_of((65, 192), 3 * TAILED, 500.0)
    assert range_factor(wide) == pytest.approx(3.0)
    assert codec.quick_points_for(wide) == ({"levels": 36},)
    points = [point["levels"] for point in codec.points_for(wide)]
    assert points == sorted(points)
    assert 36 in points
    assert {range_factor(each) for each in (replace(wide, statistics=None), *RESNET.values())} == {1.0}


def test_other_tensors_get_the_margin_over_their_range() -> None:
    assert range_factor(DIGITS["input"]) == pytest.approx(1 / MARGIN)
    assert range_factor(spec_of((64, 64), 7.0, 4000.0)) == pytest.approx(1 / MARGIN**2)
    assert range_factor(spec_of((64,), 0.0, 1.0)) == pytest.approx(1 / MARGIN)
    assert CODECS["webp"].quick_points_for(DIGITS["input"]) == ({"quality": 34},)


@pytest.mark.parametrize("name", ["webp", "avif", "jpeg-huffman", "jpegxl", "jpeg2000"])
def test_heavy_tails_get_finer_pictures(name: str) -> None:
    codec = CODECS[name]
    wide, usual = spec_of((65, 192), 4 * TAILED, 500.0), TensorSpec((65, 192))
    knob = codec.rate_knob(wide)
    assert knob is not None
    order = 1 if knob.finest > knob.coarsest else -1
    quick, before = (codec.quick_points_for(spec) for spec in (wide, usual))
    for point, tuned in zip(quick, before, strict=True):
        assert order * point[knob.argument] > order * tuned[knob.argument]
        assert codec.skip_reason(wide, **point) is None
    values = [order * point[knob.argument] for point in codec.points_for(wide)]
    assert values == sorted(values)
    assert all(point in codec.points_for(wide) for point in quick)
    assert codec.point_defaults(wide).keys() == codec.point_defaults(usual).keys()


@given(st.floats(0.0, 1e3), st.floats(1.0, 4096.0), st.floats(0.01, 20.0))
def test_a_factor_is_in_bounds_and_falls_with_the_range(spread: float, effective: float, tuned: float) -> None:
    factor = step_factor(spec_of((4096,), spread, effective), tuned)
    assert min(1.0, SAFE_STEP / tuned) <= factor <= 1.0
    assert step_factor(spec_of((4096,), spread / 2, effective), tuned) <= factor
    assert step_factor(spec_of((4096,), spread, min(effective * 2, 4096.0)), tuned) <= factor


def test_a_constant_tensor_keeps_its_points() -> None:
    spec = replace(TensorSpec((8,)), statistics=TensorStatistics(4, 8.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    assert suited_steps(spec, steps(2.0, 1.0), 2.0) == steps(2.0, 1.0)
    assert range_factor(spec) == 1.0
