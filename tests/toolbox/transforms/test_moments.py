"""Moments of training blocks, and their principal axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.training import noise, training

from codecbench import TensorSpec
from codecbench.toolbox.transforms.moments import Moments, principal_axes
from codecbench.toolbox.transforms.sensitivity import Sensitivity


def test_principal_axes_diagonalise() -> None:
    xs = np.random.default_rng(0).standard_normal((200, 5)) @ np.random.default_rng(1).standard_normal((5, 5))
    covariance = np.cov(xs.T)
    variances, axes = principal_axes(covariance)
    assert np.allclose(axes.T @ covariance @ axes, np.diag(variances))
    assert np.allclose(axes.T @ axes, np.eye(5))
    assert (np.diff(variances) <= 0).all()


def test_moments_are_those_of_all_blocks() -> None:
    data = training(noise(130, 3, 16, 16) * 2 + 100)
    sensitivity = Sensitivity.plain(data.spec)
    moments = Moments.of(data, sensitivity)
    blocks = sensitivity.tiling.split(np.concatenate([batch.numpy() for batch, _ in data.batches(50)])).astype(
        np.float64
    )
    assert np.allclose(moments.mean, blocks.mean(0))
    assert np.allclose(moments.covariance, np.cov(blocks.T, ddof=0))
    assert moments.variance == pytest.approx(blocks.var(0).sum())
    assert (moments.low, moments.high) == (blocks.min(), blocks.max())
    assert np.abs(moments.weighted.mean(0)).max() < 1e-9


def test_samples_without_values_teach_nothing() -> None:
    data = training(torch.zeros(10, 0, 4))
    with pytest.raises(ValueError, match="not empty"):
        Moments.of(data, Sensitivity.plain(TensorSpec((None, 4), max_length=8)))
