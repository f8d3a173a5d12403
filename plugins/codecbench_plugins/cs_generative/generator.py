"""The generator, the search for the latent that fits the measurements best, and the reconstruction from both.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from codecbench_plugins.cs_generative.measuring import SEED, Basis

STARTS, DESCENT_STEPS, DESCENT_RATE, SPREAD = 2, 40, 0.2, 1.0
"""Settings of the search for a latent. Further starts are normal around the first with standard deviation SPREAD."""

FIRST_BETA, SECOND_BETA, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Generator:
    """G(z) = z L + tanh(z W + b) V + c: latents (count, d) to DCT coefficients (count, K)."""

    linear: Tensor
    inner: Tensor
    bias: Tensor
    outer: Tensor
    offset: Tensor

    def __call__(self, latents: Tensor) -> Tensor:
        """Return the coefficients of latents."""
        return self.output(latents, self.hidden(latents))

    def hidden(self, latents: Tensor) -> Tensor:
        """Return the values of the hidden layer, (count, width)."""
        return (latents @ self.inner + self.bias).tanh()

    def output(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """Return the coefficients of latents and their hidden values."""
        return latents @ self.linear + hidden @ self.outer + self.offset

    def latent_gradient(self, slope: Tensor, hidden: Tensor) -> Tensor:
        """Return the gradient in the latents of a loss whose gradient in the coefficients is `slope`."""
        return slope @ self.linear.T + (slope @ self.outer.T * (1 - hidden * hidden)) @ self.inner.T

    def in_basis(self, basis: Tensor) -> Generator:
        """Return the generator as a function of v, where z = v `basis`."""
        return replace(self, linear=basis @ self.linear, inner=basis @ self.inner)


class Search:
    """argmin over z of 1/2 (y - E G(z))^T S^-1 (y - E G(z)) + 1/2 ||z||^2, for a batch of y.

    `gram` is E^T S^-1 E, (K, K), with E and G in coefficients, so that no step needs a product with E. Adam works on v
    = z C with C C^T the Hessian at z = 0, without the curvature of the hidden layer: in v the linear part of the
    problem has spherical level sets. The search starts at their centre and at STARTS - 1 points around it, and takes a
    fixed number of steps; the result with the lowest objective is used. All is in float64, so that rounding, which
    differs between batches, stays small.
    """

    def __init__(self, generator: Generator, gram: Tensor) -> None:
        self._gram = gram
        identity = torch.eye(len(generator.linear), dtype=torch.float64)
        origin = torch.zeros_like(identity[:1])
        slopes = generator.linear + (generator.inner * (1 - generator.hidden(origin) ** 2)) @ generator.outer
        factor = torch.linalg.cholesky(identity + slopes @ gram @ slopes.T)
        self._latent_basis = torch.linalg.solve_triangular(factor, identity, upper=False)
        self._generator = generator.in_basis(self._latent_basis)
        random = torch.Generator().manual_seed(SEED)
        self._offsets = SPREAD * torch.randn(STARTS, len(identity), generator=random, dtype=torch.float64)
        self._offsets[0] = 0

    def coefficients(self, back_projection: Tensor) -> Tensor:
        """Return G of the best latents, (count, K), for `back_projection` = E^T S^-1 y, (count, K)."""
        count = len(back_projection)
        back_projection = back_projection.repeat(STARTS, 1)
        positions = back_projection.new_zeros(len(back_projection), len(self._latent_basis))
        # In these coordinates one gradient step of size 1 leads to the centre.
        positions -= self._gradient(positions, back_projection)
        positions += self._offsets.repeat_interleave(count, 0)
        adam = _Adam(positions)
        for step in range(DESCENT_STEPS):
            adam.step(self._gradient(positions, back_projection), DESCENT_RATE * (1 - step / DESCENT_STEPS))
        generated = self._generator(positions)
        loss = self._objective(positions, generated, back_projection).reshape(STARTS, count)
        return generated.reshape(STARTS, count, -1)[loss.argmin(0), torch.arange(count)]

    def _gradient(self, positions: Tensor, back_projection: Tensor) -> Tensor:
        hidden = self._generator.hidden(positions)
        slope = self._generator.output(positions, hidden) @ self._gram - back_projection
        gradient: Tensor = (
            self._generator.latent_gradient(slope, hidden) + positions @ self._latent_basis @ self._latent_basis.T
        )
        return gradient

    def _objective(self, positions: Tensor, generated: Tensor, back_projection: Tensor) -> Tensor:
        """Return the objective less 1/2 y^T S^-1 y, which is the same for all starts, (count,)."""
        data = (generated * (generated @ self._gram / 2 - back_projection)).sum(1)
        objective: Tensor = data + (positions @ self._latent_basis).square().sum(1) / 2
        return objective


class _Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on one tensor, in place, with a rate for each step.

    This replaces `torch.optim`, because its steps decide what a payload decodes to: they must not change with the
    version of torch.
    """

    def __init__(self, positions: Tensor) -> None:
        self._points = positions
        self._mean, self._square = torch.zeros_like(positions), torch.zeros_like(positions)
        self._steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        """Take one step down the gradient."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - FIRST_BETA)
        self._square.mul_(SECOND_BETA).addcmul_(gradient, gradient, value=1 - SECOND_BETA)
        scale = (self._square / (1 - SECOND_BETA**self._steps)).sqrt_().add_(EPSILON)
        self._points.addcdiv_(self._mean, scale, value=-rate / (1 - FIRST_BETA**self._steps))


class Reconstruction:
    """Measurements to pictures; `variances`, (n,), are those of the generator's error in each coefficient."""

    def __init__(
        self, generator: Generator, order: Tensor, variances: Tensor, mean: Tensor, basis: Basis, measuring: Tensor,
        step: float, *, corrected: bool,
    ) -> None:  # fmt: skip
        self._order, self._mean, self._basis = order, mean, basis
        matrix = basis.coefficients(measuring)
        self._generated_matrix = matrix[:, order]
        noise = step * step / 12
        if corrected:
            self._cross_covariance = matrix * variances
            covariance = self._cross_covariance @ matrix.T
            covariance.diagonal().add_(noise)
            self._factor = torch.linalg.cholesky(covariance)
            self._weighted = torch.cholesky_solve(self._generated_matrix, self._factor)
        else:
            self._factor = None
            self._weighted = self._generated_matrix / (variances.mean() + noise)
        self._search = Search(generator, self._generated_matrix.T @ self._weighted)

    def pictures(self, measured: Tensor) -> Tensor:
        """Return pictures with values from 0 to 1, (count, *shape), for measurements (count, m)."""
        generated = self._search.coefficients(measured @ self._weighted)
        coefficients = measured.new_zeros(len(measured), len(self._mean.reshape(-1)))
        if self._factor is not None:
            unexplained = measured - generated @ self._generated_matrix.T
            coefficients = torch.cholesky_solve(unexplained.T, self._factor).T @ self._cross_covariance
        coefficients[:, self._order] += generated
        return (self._mean + self._basis.values(coefficients)).clamp_(0, 1)
