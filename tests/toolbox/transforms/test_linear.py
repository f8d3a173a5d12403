"""The learned transform: what components cost and err, which are kept, and the states of its halves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from support.training import noise, training
from torch import Tensor

from codecbench.toolbox.transforms.linear import Analysis, Synthesis, learn_transform
from codecbench.toolbox.transforms.moments import Moments
from codecbench.toolbox.transforms.sensitivity import Sensitivity


def halves(xs: Tensor, step: float = 0.5) -> tuple[Analysis, Synthesis]:
    data = training(xs)
    sensitivity = Sensitivity.plain(data.spec)
    return learn_transform(data.spec, step, sensitivity, Moments.of(data, sensitivity))


def round_trip(xs: Tensor, step: float) -> tuple[float, float]:
    """Mean bound in bytes, and squared error a value, of samples that it was learned from."""
    analysis, synthesis = halves(xs, step)
    symbols = analysis.symbols(list(xs.numpy()), image=False)
    restored = np.array([synthesis.restore(of_one, xs.shape[1:]) for of_one in symbols])
    bound_bytes = [analysis.prior.bound_bytes(of_one) for of_one in symbols]
    return float(np.mean(bound_bytes)), float(np.square(restored - xs.numpy()).mean())


def test_finer_steps_cost_more_and_err_less() -> None:
    rows = [round_trip(noise(300, 4, 2, 2), step) for step in (2.0, 0.5, 0.1)]
    assert all(coarser[0] < finer[0] and coarser[1] > finer[1] for coarser, finer in pairwise(rows))
    # A step of 0.1 errs by 0.1^2 / 12 of the variance, and rounding of the matrices adds a little.
    assert rows[-1][1] < 1.2 * 0.1**2 / 12


def test_what_channels_have_in_common_is_sent_once() -> None:
    one = noise(400, 1, 8, 8)
    single_bytes, single_error = round_trip(one, 0.5)
    joint_bytes, joint_error = round_trip(one.repeat(1, 3, 1, 1), 0.5 * 3**0.5)
    # A common component has 3 times the energy; a step that is the root of that greater is the same channel by channel.
    assert joint_bytes == pytest.approx(single_bytes, rel=0.1)
    assert joint_error == pytest.approx(single_error, rel=0.1)


def test_components_below_the_water_line_are_not_kept() -> None:
    xs = noise(2000, 16) * torch.tensor([8.0, 4.0, *[0.05] * 14])
    analysis, synthesis = halves(xs, 0.5)
    assert analysis.matrix.shape == (2, 16)
    assert len(halves(xs, 0.01)[0].matrix) == 16
    symbols = analysis.symbols(list(xs.numpy()), image=False)
    restored = np.array([synthesis.restore(of_one, (16,)) for of_one in symbols])
    errors = np.square(restored - xs.numpy()).mean(0)
    assert np.allclose(errors[2:], 0.05**2, rtol=0.1)
    assert errors[0] == pytest.approx(errors[1], rel=0.25)  # an equal slope is an equal error


def test_symbols_do_not_depend_on_the_batch() -> None:
    xs = noise(60, 3, 20, 20)
    analysis, _ = halves(xs)
    together = analysis.symbols(list(xs.numpy()), image=False)
    assert len(together) == len(xs)
    for x, of_one in zip(xs, together, strict=True):
        assert np.array_equal(analysis.symbols([x.numpy()], image=False)[0], of_one)
    assert analysis.symbols([], image=False) == []


@pytest.mark.parametrize("step", [0.2, 4.0])
def test_states_come_back(step: float) -> None:
    xs = noise(60, 2, 9, 9)
    analysis, synthesis = halves(xs, step)
    device, edge = Analysis.from_bytes(analysis.to_bytes()), Synthesis.from_bytes(synthesis.to_bytes())
    (symbols,) = analysis.symbols([xs[0].numpy()], image=False)
    assert np.array_equal(device.symbols([xs[0].numpy()], image=False)[0], symbols)
    assert np.array_equal(edge.restore(symbols, (2, 9, 9)), synthesis.restore(symbols, (2, 9, 9)))
    assert (device.to_bytes(), edge.to_bytes()) == (analysis.to_bytes(), synthesis.to_bytes())


@pytest.mark.parametrize("state", [b"", b"no state", bytes(100)])
def test_foreign_states_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="no state of a transform"):
        Synthesis.from_bytes(state)


def test_constants_have_no_component() -> None:
    analysis, synthesis = halves(torch.full((20, 4, 4, 4), 3.7))
    (symbols,) = analysis.symbols([np.zeros((4, 4, 4), np.float32)], image=False)
    assert symbols.shape == (0, 1)
    assert np.allclose(synthesis.restore(symbols, (4, 4, 4)), 3.7, rtol=1e-3)
