"""The initial transform of a training: a Karhunen-Loève transform weighted by the tail's sensitivity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench.codec import FitData, TensorSpec
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.transforms.moments import Moments, principal_axes
from codecbench.toolbox.transforms.orientation import suited_tiling
from codecbench.toolbox.transforms.sensitivity import Sensitivity
from codecbench.toolbox.transforms.tiling import Tiling

MIN_DEVIATION = 1 / 8
"""Components with a smaller standard deviation at the start, in steps, would always be zero and are left out."""


MAX_VALUE = 3e38
"""Decoded values are clamped to this magnitude if no range is known."""


@dataclass(frozen=True, eq=False)
class Start:
    """The Karhunen-Loève transform of values weighted by the tail's sensitivity, with one step for all components.

    `matrix` (components, values) maps values less `mean` (values,) to steps. `inverse` (values, components) and
    `restored` (values,), the mean that decoding adds, map back. `deviations` (components,) are in steps. Decoded values
    are clamped to `limits`; `max_magnitude` is the largest magnitude of a training value.
    """

    spec: TensorSpec
    tiling: Tiling
    matrix: Tensor
    inverse: Tensor
    mean: Tensor
    restored: Tensor
    deviations: Tensor
    limits: tuple[float, float]
    max_magnitude: float

    @classmethod
    def of(cls, data: FitData, relative_step: float, max_components: int) -> Start:
        """Return the start for training data, with at most `max_components` components.

        `relative_step` is the step in units of the root-mean-square deviation of the weighted values.
        """
        suited = suited_tiling(data)
        sensitivity = Sensitivity.of_tail(data, suited) or Sensitivity.plain(data.spec, suited)
        moments = Moments.of(data, sensitivity)
        variances, vectors = principal_axes(moments.covariance)
        step = relative_step * math.sqrt(variances.mean()) or 1.0
        kept = max(1, min(max_components, int((variances > (MIN_DEVIATION * step) ** 2).sum())))
        # A tail of low rank ignores errors outside few directions. Restored values then have no known range.
        low_rank = sensitivity.matrix.shape[0] < sensitivity.matrix.shape[1]
        is_vector = low_rank and data.spec.ndim == 1  # then its only axis is not tiled
        tiling = Tiling((), ()) if is_vector else sensitivity.tiling
        order = Geometry(tiling, data.spec.max_shape).order.numpy()
        restored = sensitivity.inverse @ moments.weighted_mean if low_rank else moments.mean
        return cls(
            data.spec, tiling,
            _tensor((vectors[:, :kept].T @ sensitivity.matrix / step)[:, order]),
            _tensor((sensitivity.inverse @ vectors[:, :kept] * step)[order]),
            _tensor(moments.mean[order]), _tensor(restored[order]),
            _tensor(np.sqrt(variances[:kept]) / step),
            (-MAX_VALUE, MAX_VALUE) if low_rank else (0.0, 1.0) if data.spec.image else (moments.low, moments.high),
            max(abs(moments.low), abs(moments.high)),
        )  # fmt: skip

    @property
    def geometry(self) -> Geometry:
        """The layout of the longest sample."""
        return Geometry(self.tiling, self.spec.max_shape)


class MatrixEncoder(nn.Module):
    """Blocks less the mean, times a matrix that starts as that of `Start`.

    This is a convolution whose stride equals its kernel.
    """

    mean: Tensor

    def __init__(self, start: Start) -> None:
        super().__init__()
        # In this unit the weights are about 1, so one learning rate suits all layers.
        self.unit = float(start.matrix.square().mean().sqrt()) or 1.0
        self.rows = nn.Parameter(start.matrix / self.unit)
        self.register_buffer("mean", start.mean, persistent=False)

    @property
    def matrix(self) -> Tensor:
        """The matrix from values to steps, (components, values)."""
        return self.rows * self.unit

    def forward(self, xs: Tensor, geometry: Geometry) -> Tensor:
        """Return the grid of latents of samples, in steps."""
        return geometry.to_grid((geometry.blocks(geometry.planes(xs)) - self.mean) @ self.matrix.T)


def _tensor(values: Sequence[float] | NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
