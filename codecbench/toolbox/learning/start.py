"""The state from which training begins."""

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
from codecbench.toolbox.transforms.sensitivity import Sensitivity
from codecbench.toolbox.transforms.tiling import Tiling

DEAD = 1 / 8
"""Components whose deviation is below so many steps at the start would always be zero, and are left out."""


LIMIT = 3e38
"""Decoded values are kept within this where no range is known."""


@dataclass(frozen=True, eq=False)
class Start:
    """The Karhunen-Loève transform of values weighted by the tail's sensitivity, at one step for all components.

    `matrix` (components, values) goes to steps, `inverse` (values, components) and `restored` (values,) come back;
    `mean` (values,) is subtracted before. `deviations` (components,) are in steps. Decoded values are kept within
    `limits`; `max_magnitude` is that of the training values.
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
        """The start for training data, for a step in root-mean-square deviations, with `max_components` at most."""
        sensitivity = Sensitivity.of_tail(data) or Sensitivity.plain(data.spec)
        moments = Moments.of(data, sensitivity)
        variances, vectors = principal_axes(moments.covariance)
        step = relative_step * math.sqrt(variances.mean()) or 1.0
        kept = max(1, min(max_components, int((variances > (DEAD * step) ** 2).sum())))
        # The tail does not see what lies outside few directions. Restored values then keep to no range.
        few = sensitivity.matrix.shape[0] < sensitivity.matrix.shape[1]
        is_vector = few and data.spec.ndim == 1  # whose only axis is not tiled then
        tiling = Tiling((), ()) if is_vector else sensitivity.tiling
        order = Geometry(tiling, data.spec.max_shape).order.numpy()
        restored = sensitivity.inverse @ moments.weighted_mean if few else moments.mean
        return cls(
            data.spec, tiling,
            _tensor((vectors[:, :kept].T @ sensitivity.matrix / step)[:, order]),
            _tensor((sensitivity.inverse @ vectors[:, :kept] * step)[order]),
            _tensor(moments.mean[order]), _tensor(restored[order]),
            _tensor(np.sqrt(variances[:kept]) / step),
            (-LIMIT, LIMIT) if few else (0.0, 1.0) if data.spec.image else (moments.low, moments.high),
            max(abs(moments.low), abs(moments.high)),
        )  # fmt: skip

    @property
    def geometry(self) -> Geometry:
        """The layout of the longest sample."""
        return Geometry(self.tiling, self.spec.max_shape)


class MatrixEncoder(nn.Module):
    """Blocks less the mean, times a matrix: a convolution whose stride is its kernel. `Start` gives the first one."""

    mean: Tensor

    def __init__(self, start: Start) -> None:
        super().__init__()
        # In units in which weights are about 1, one learning rate suits all.
        self.unit = float(start.matrix.square().mean().sqrt()) or 1.0
        self.rows = nn.Parameter(start.matrix / self.unit)
        self.register_buffer("mean", start.mean, persistent=False)

    @property
    def matrix(self) -> Tensor:
        """(components, values), to steps."""
        return self.rows * self.unit

    def forward(self, xs: Tensor, geometry: Geometry) -> Tensor:
        """Samples to a grid of latents in steps."""
        return geometry.to_grid((geometry.blocks(geometry.planes(xs)) - self.mean) @ self.matrix.T)


def _tensor(values: Sequence[float] | NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
