"""Principal axes: taken where they are known, and not where few blocks only seem to have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.training import noise, training
from torch import Tensor

from codecbench.toolbox.transforms.axes import ENOUGH_BLOCKS, are_known, told_by
from codecbench.toolbox.transforms.moments import Moments
from codecbench.toolbox.transforms.sensitivity import Sensitivity


def independent(count: int) -> Tensor:
    """Values of several deviations that have nothing in common."""
    return noise(count, 64) * torch.linspace(1, 3, 64)


def related(count: int) -> Tensor:
    """Values that four components explain."""
    return noise(count, 4) @ noise(4, 64, seed=1) + 0.01 * noise(count, 64, seed=2)


@pytest.mark.parametrize(
    ("blocks", "known"),
    [(independent(64 * ENOUGH_BLOCKS), True), (independent(60), False), (related(60), True), (related(1), True)],
    ids=["many", "few", "few but alike", "one"],
)
def test_axes_are_known_where_other_blocks_have_them_too(blocks: Tensor, known: bool) -> None:
    assert are_known(blocks.double().numpy()) is known


def test_a_transform_that_spreads_sparse_values_is_not_taken() -> None:
    """Their covariances are small, and principal axes of equal variances are any."""
    sparse = torch.where(noise(500, 64, seed=3) > 1.5, 5 * noise(500, 64), 0.0)
    assert not are_known(sparse.double().numpy())


def test_known_axes_change_nothing() -> None:
    data = training(related(60))
    plain = Sensitivity.plain(data.spec)
    sensitivity, moments = told_by(data, plain)
    assert sensitivity is plain
    assert np.array_equal(moments.covariance, Moments.of(data, plain).covariance)


def test_unknown_axes_leave_each_value_for_itself() -> None:
    data = training(independent(60), lambda x: x @ noise(64, 64, seed=1))
    of_tail = Sensitivity.of_tail(data)
    assert of_tail is not None
    sensitivity, moments = told_by(data, of_tail)
    weights = np.diag(sensitivity.matrix)
    assert np.array_equal(sensitivity.matrix, np.diag(weights))
    assert np.allclose(weights**2, np.diag(of_tail.matrix @ of_tail.matrix))
    assert np.allclose(sensitivity.matrix @ sensitivity.inverse, np.eye(64))
    assert np.allclose(moments.covariance, np.diag(weights**2 * data_variance(data.spec.max_shape[0])))


def data_variance(values: int) -> np.ndarray:
    return independent(60).double().numpy().var(0)[:values]


def test_few_directions_stay_as_they_are() -> None:
    data = training(independent(60), lambda x: x[:, :3])
    directions = Sensitivity.of_tail(data)
    assert directions is not None
    assert directions.apart() is directions
