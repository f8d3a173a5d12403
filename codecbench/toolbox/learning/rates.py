"""Quantisers with gradients, and rate estimates of noisy latents."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench.toolbox.coding.scale_model import MAX_MAGNITUDE, group_sizes

FIRST_THRESHOLD = 0.6
"""Smaller values, in steps, are sent as zero, and every threshold is a tenth of a step beyond the midpoint. A symbol
nearer to zero costs fewer bits, which outweighs the larger error (Sullivan 1996, section IV)."""


MIN_SCALE, SLOPE_UNIT = 0.02, 0.2
"""The smallest scale of a context, in steps, and the unit of its factors of magnitudes."""


def quantise_dead_zone(y: Tensor) -> Tensor:
    """Return values in steps as the nearest integers; just beyond a midpoint, the integer nearer to zero."""
    return torch.add(y, torch.sign(y), alpha=1 - FIRST_THRESHOLD).trunc_()


def straight_through(y: Tensor) -> Tensor:
    """Return `quantise_dead_zone` with the gradient of the identity (Bengio, Leonard and Courville 2013, section 4)."""
    return y + (quantise_dead_zone(y) - y).detach()


def with_noise(y: Tensor, generator: torch.Generator) -> Tensor:
    """Add uniform noise one step wide: its rate approximates that of the symbols (Balle et al. 2017, section 3)."""
    noise = torch.rand(y.shape, generator=generator).to(y.device)
    return y + noise - 0.5


def laplace_bits(y: Tensor, scale: Tensor) -> Tensor:
    """Return -log2 of the probability of the unit step around y under a Laplace distribution of this scale.

    Same shape as y.
    """
    upper = -(y.abs() - 0.5)
    lower = -(y.abs() + 0.5)
    half = 0.5 * torch.exp(-upper.abs() / scale)
    inside = torch.where(upper > 0, 1 - half, half)
    probability = inside - 0.5 * torch.exp(lower / scale)
    return -torch.log2(probability.clamp(min=1e-9))


class ScaleContext(nn.Module):
    """Predicts the scale of each latent from the magnitudes of earlier groups, as `ContextPrior` does.

    It is trained in floating point on magnitudes of noisy latents; `weights` returns its weights for `ContextPrior`.
    """

    _members: Tensor
    _mask: Tensor

    def __init__(self, deviations: Tensor) -> None:
        """Start from `deviations`, (channels,), the standard deviations of the latents in steps."""
        super().__init__()
        channels = len(deviations)
        sizes = group_sizes(channels)
        group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        start = (0.6 * deviations).clamp(0.05, 50.0)
        self.base = nn.Parameter(torch.log(torch.expm1(start)))
        self.slopes = nn.Parameter(torch.full((channels, 3 * len(sizes)), -4.0))
        mask = (torch.arange(len(sizes)) < group[:, None]).float()
        self.register_buffer("_members", F.one_hot(group, len(sizes)).float(), persistent=False)
        self.register_buffer("_mask", mask.repeat(1, 3), persistent=False)

    @classmethod
    def of_weights(cls, weights: NDArray[np.float64], finer: float) -> ScaleContext:
        """Return the context with these `weights`, for steps finer by the factor `finer`."""
        context = cls(torch.ones(len(weights)))
        target = torch.from_numpy(weights).float()
        share = context._share()
        with torch.no_grad():
            constant = ((target[:, 0] * finer - MIN_SCALE) / share).clamp(1e-3, 80.0)  # float32 overflows at e^89
            context.base.copy_(torch.log(torch.expm1(constant)))
            context.slopes.copy_(torch.log(torch.expm1((target[:, 1:] / SLOPE_UNIT).clamp(1e-4, 50.0))))
        return context

    def _share(self) -> Tensor:
        """Return the share of the constant: 1/2 for a channel with earlier groups, whose magnitudes add the rest."""
        return torch.where(self._mask.any(1), 0.5, 1.0)

    def _factors(self) -> tuple[Tensor, Tensor]:
        constant = F.softplus(self.base)
        return constant * self._share() + MIN_SCALE, SLOPE_UNIT * F.softplus(self.slopes) * self._mask

    def forward(self, y: Tensor) -> Tensor:
        """Return the scales of a grid of latents, in steps."""
        constant, slopes = self._factors()
        magnitudes = torch.einsum("nchw,cg->nghw", y.abs().clamp(max=MAX_MAGNITUDE), self._members)
        around = F.avg_pool2d(F.pad(magnitudes, (1, 1, 1, 1), mode="replicate"), 3, 1)
        everywhere = magnitudes.mean((2, 3), keepdim=True).expand_as(magnitudes)
        features = torch.cat([magnitudes, around, everywhere], 1)
        return torch.einsum("nfhw,cf->nchw", features, slopes) + constant[:, None, None]

    def weights(self) -> Tensor:
        """Return the weights in steps for `ContextPrior.fitted`, (channels, 1 + 3 groups) in float64."""
        with torch.no_grad():
            constant, slopes = self._factors()
            return torch.cat([constant[:, None], slopes], 1).double()
