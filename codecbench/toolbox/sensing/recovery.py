"""Sparse recovery: measurement matrices, and one batched solver of the l1 problem.

Everything is a matrix, because blocks are small: a block of n values is x = Psi c with an orthonormal (n, n) basis Psi,
its measurements are y = E x = A c with A = E Psi, and the solver finds sparse coefficients c for a whole batch of y.
The same seed gives the same matrix on every machine. Importing this module imports neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

POWER_ITERATIONS = 100
GAIN_MARGIN = 1.02
"""Power iteration approaches the largest eigenvalue from below, but a step must not be longer than its inverse."""


# --- measurement matrices ------------------------------------------------------------------------------------------


def gaussian_rows(rows: int, length: int, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Return (rows, length) independent normal values of variance 1/rows, so that columns have length 1 on average.

    The ensemble of Candes and Tao, "Near-optimal signal recovery from random projections", 2006.
    """
    import numpy as np

    # The legacy generator, because its streams are frozen: the two sides may have different versions of numpy.
    return np.random.RandomState(seed).standard_normal((rows, length)) / math.sqrt(rows)


def orthonormal_rows(rows: int, length: int, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Return the first `rows` rows of a random rotation, (rows, length): orthonormal, from the Haar measure.

    Raises ValueError for more rows than columns.
    """
    import numpy as np

    if rows > length:
        raise ValueError(f"{rows} rows of length {length} cannot be orthonormal")
    columns, triangle = np.linalg.qr(np.random.RandomState(seed).standard_normal((length, rows)))
    # Without the signs the distribution would depend on the QR algorithm (Mezzadri 2007, section 5).
    rotated: NDArray[np.float64] = (columns * np.sign(np.diagonal(triangle))).T
    return rotated


# --- the l1 problem ------------------------------------------------------------------------------------------------


class Operator:
    """The matrix A of a problem, (..., m, n), with the step size of a solver; made once and used for many problems.

    With leading axes it is a stack of matrices, each with its own problems. `orthonormal` states that the rows are
    orthonormal (or zero), so that the step size is 1; otherwise it is 1/L, with L by power iteration.
    """

    def __init__(self, matrix: Tensor, *, orthonormal: bool = False) -> None:
        self.matrix = matrix
        self.orthonormal = orthonormal

    @cached_property
    def step(self) -> Tensor:
        """1/L, (..., 1, 1), with L the largest eigenvalue of A^T A: the Lipschitz constant of the gradient."""
        import torch

        shape = (*self.matrix.shape[:-2], 1, 1)
        if self.orthonormal:
            return torch.ones(shape, dtype=self.matrix.dtype, device=self.matrix.device)
        return 1 / (GAIN_MARGIN * _gain(self.matrix)).clamp(min=torch.finfo(self.matrix.dtype).tiny)

    def gradient(self, coefficients: Tensor, measurements: Tensor) -> Tensor:
        """Return A^T (A c - y), the gradient of 1/2 ||y - A c||^2, for c (..., batch, n) and y (..., batch, m)."""
        return (coefficients @ self.matrix.mT - measurements) @ self.matrix

    def descend(self, back_projection: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map c -> c - step * gradient, for `back_projection` = A^T y.

        It uses the cheaper of one product with the (n, n) matrix I - step A^T A and two products with A.
        """
        import torch

        matrix, step = self.matrix, self.step
        offset = step * back_projection
        if 2 * matrix.shape[-2] > matrix.shape[-1]:
            square = self._shrunk_gram
            if matrix.ndim == 2:
                return lambda c: torch.addmm(offset, c, square)
            return lambda c: torch.matmul(c, square).add_(offset)
        scaled = -step * matrix
        return lambda c: ((c @ matrix.mT) @ scaled).add_(c).add_(offset)

    @cached_property
    def _shrunk_gram(self) -> Tensor:
        import torch

        identity = torch.eye(self.matrix.shape[-1], dtype=self.matrix.dtype, device=self.matrix.device)
        return identity - self.step * (self.matrix.mT @ self.matrix)


def _gain(matrix: Tensor) -> Tensor:
    """Return a lower estimate of the largest eigenvalue of A^T A, (..., 1, 1)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    vector = torch.randn((matrix.shape[-1], 1), generator=generator, dtype=torch.float64).to(matrix)
    vector = vector.expand(*matrix.shape[:-2], -1, -1)
    norm: Tensor = torch.linalg.vector_norm(vector, dim=-2, keepdim=True)
    for _ in range(POWER_ITERATIONS):
        vector = matrix.mT @ (matrix @ (vector / norm.clamp(min=torch.finfo(matrix.dtype).tiny)))
        norm = torch.linalg.vector_norm(vector, dim=-2, keepdim=True)
    return norm


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Return the proximal map of threshold * |v|: each value moved towards zero by the threshold, at most to zero."""
    return values - values.clamp(min=-threshold, max=threshold)


@dataclass(frozen=True)
class L1Solver:
    """argmin over c of 1/2 ||y - A c||^2 + penalty * sum_i weights_i |c_i|, for a batch of y at once.

    - "ista": a gradient step, then soft thresholding (Daubechies, Defrise and De Mol 2004).
    - "fista": the same from a point extrapolated from the last two iterates (Beck and Teboulle 2009, eqs. 4.1 to 4.3):
      the error is of the order of 1/k^2 after k iterations instead of 1/k.
    - `continuation`: over this number of first iterations, the penalty falls geometrically to its value. It starts at
      the smallest penalty for which the solution is zero, for each problem separately (Hale, Yin and Zhang 2008).
    - `weights`: weights that fall with a coefficient's expected size penalise all coefficients alike (Candes, Wakin and
      Boyd 2008).

    It ends after `iterations`, or, once the continuation is over, when no problem of the batch moved by more than
    `tolerance` times its length; a tolerance of zero never ends early. With a tolerance, a solution therefore depends
    slightly on the rest of its batch. Computes on `device`, in the matrix's dtype.
    """

    method: Literal["ista", "fista"] = "fista"
    iterations: int = 60
    tolerance: float = 0.0
    continuation: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.method not in ("ista", "fista"):
            raise ValueError(f"method is 'ista' or 'fista', not {self.method!r}")
        if not 0 <= self.continuation <= self.iterations:
            raise ValueError(f"continuation is 0 to {self.iterations} iterations, not {self.continuation}")

    def solve(
        self,
        operator: Operator,
        measurements: Tensor,
        penalty: float,
        weights: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Return coefficients (..., batch, n) for measurements (..., batch, m).

        `weights` broadcasts against the coefficients and is 1 by default. `start` is the first iterate, zero by
        default.
        """
        import torch

        operator = self._on_device(operator)
        matrix = operator.matrix
        back_projection = measurements.to(matrix) @ matrix
        relative = torch.ones((), dtype=matrix.dtype, device=matrix.device) if weights is None else weights.to(matrix)
        thresholds = self._thresholds(back_projection, penalty, relative)
        descend = operator.descend(back_projection)
        last = torch.zeros_like(back_projection) if start is None else start.to(matrix).expand_as(back_projection)
        ahead, momentum = last, 1.0
        settled_from = self.continuation if self.tolerance else self.iterations
        for iteration in range(self.iterations):
            current = soft_threshold(descend(ahead), operator.step * thresholds(iteration))
            if iteration >= settled_from and _has_settled(current, last, self.tolerance):
                return current
            if self.method == "ista":
                ahead = current
            else:
                following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
                ahead = torch.lerp(last, current, 1 + (momentum - 1) / following)
                momentum = following
            last = current
        return last

    def _on_device(self, operator: Operator) -> Operator:
        matrix = operator.matrix.to(self.device)
        return operator if matrix is operator.matrix else Operator(matrix, orthonormal=operator.orthonormal)

    def _thresholds(self, back_projection: Tensor, penalty: float, weights: Tensor) -> Callable[[int], Tensor]:
        """Return a function from iteration to thresholds for a step size of 1.

        The thresholds broadcast against the coefficients.
        """
        import torch

        final = penalty * weights
        if not (self.continuation and penalty > 0):
            return lambda _iteration: final
        tiny = torch.finfo(back_projection.dtype).tiny
        # At this multiple of the penalty, zero satisfies the optimality condition |A^T y|_i <= penalty * weights_i.
        excess = (back_projection.abs() / final.clamp(min=tiny)).amax(-1, keepdim=True).clamp(1, 1e12)

        def falling(iteration: int) -> Tensor:
            left = max(0.0, 1 - (iteration + 1) / self.continuation)
            return final * excess**left if left else final

        return falling


def _has_settled(current: Tensor, last: Tensor, tolerance: float) -> bool:
    import torch

    moved = torch.linalg.vector_norm(current - last, dim=-1)
    return bool((moved <= tolerance * torch.linalg.vector_norm(current, dim=-1)).all())
