"""Samples, extremes and training data of the kit: they fit their spec and repeat."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codecbench import TensorSpec
from codecbench.kit.samples import DEFAULT_SPECS, extremes, fit_data, samples, spec_label

FEATURES = TensorSpec((4, 8, 8))
IMAGE = TensorSpec((3, 32, 32), image=True)
SEQUENCE = TensorSpec((None, 6), max_length=20)

MORE_SPECS = (
    *DEFAULT_SPECS,
    TensorSpec((1, 9, 5), image=True),
    TensorSpec((2, 3), "float16"),
    TensorSpec((2, 3), "float64"),
    TensorSpec((5,), "int8"),
    TensorSpec((5,), "uint8"),
    TensorSpec((5,), "int64"),
    TensorSpec((3, None), "int16", max_length=4),
)


@pytest.mark.parametrize("spec", MORE_SPECS, ids=spec_label)
def test_samples_fit_their_spec_and_repeat(spec):
    made, again = samples(spec, 8), samples(spec, 8)
    for x, same in zip(made, again, strict=True):
        assert spec.mismatch(x.shape, str(x.dtype).removeprefix("torch.")) is None
        assert x.is_contiguous()
        assert torch.equal(x, same)
    assert len({(tuple(x.shape), x.numpy().tobytes()) for x in made}) == 8 or spec.shape == (3, None)
    if None in spec.shape:
        assert len({tuple(x.shape) for x in made}) > 1
        assert made[0].shape == spec.max_shape


@pytest.mark.parametrize("spec", MORE_SPECS, ids=spec_label)
def test_extremes_fit_their_spec_and_are_finite(spec):
    for x in extremes(spec).values():
        assert spec.mismatch(x.shape, str(x.dtype).removeprefix("torch.")) is None
        assert bool(torch.isfinite(x).all())
    assert {"zeros", "all greatest"} <= extremes(spec).keys()


def test_extremes_of_floats_hold_denormals_and_one_huge_value():
    found = extremes(FEATURES)
    tiny = found["denormals"].abs()
    assert bool(((tiny > 0) & (tiny < torch.finfo(torch.float32).tiny)).any())
    assert int((found["one huge value"] > 1e29).sum()) == 1


def test_pictures_are_photographs_with_values_of_k_over_255():
    for x in samples(IMAGE, 8) + list(extremes(IMAGE).values()):
        pixels = (x * 255).round()
        assert torch.equal(pixels / 255, x)
        assert 0 <= pixels.min() <= pixels.max() <= 255
    assert float(samples(IMAGE)[0].std()) > 0.1


def test_photographs_ship_with_scikit_image():
    import skimage.data

    from codecbench.kit.samples import PHOTOGRAPHS

    assert all((Path(skimage.data.__file__).parent / name).is_file() for name in PHOTOGRAPHS)


@pytest.mark.parametrize("spec", [FEATURES, SEQUENCE], ids=spec_label)
def test_fit_data_keeps_its_promises(spec):
    data = fit_data(spec, max_s=100.0)
    seen = [x for xs, _ in data.batches(7) for x in xs]
    held = [x for xs, _ in data.held_out(7) for x in xs]
    assert (len(seen), len(held)) == (data.count, data.held_out_count)
    assert not any(x.shape == y.shape and torch.equal(x, y) for x in seen for y in held if x.shape == spec.max_shape)
    first, second = (next(data.batches(4)) for _ in range(2))
    assert first[1] != second[1] or not torch.equal(torch.as_tensor(first[0][0]), torch.as_tensor(second[0][0]))
    repeat = next(fit_data(spec, max_s=100.0).batches(7))
    assert torch.equal(repeat[0][0], seen[0])
    xs, targets = repeat
    xs = [x.clone().requires_grad_() for x in xs]
    scores = data.tail(xs if spec is SEQUENCE else torch.stack(xs))
    assert scores.shape == (len(xs), 4)
    assert scores.argmax(1).tolist() == targets
    scores.sum().backward()
    assert all(x.grad is not None for x in xs)


def test_the_clock_of_a_fit_is_virtual_and_runs_out():
    data = fit_data(FEATURES, max_s=1.0)
    ticks = 0
    while data.remaining_s() > 0:
        ticks += 1
    assert ticks == 19
    assert fit_data(FEATURES, max_s=0.0).remaining_s() == 0
