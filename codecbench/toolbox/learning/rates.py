"""Quantisers with gradients, and rates of noisy latents."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench.toolbox.coding.scale_model import MAX_MAGNITUDE, group_sizes

FIRST_THRESHOLD = 0.6
"""In steps: smaller values are sent as zero, and all thresholds lie a tenth of a step beyond half-way. A symbol nearer
to zero costs fewer bits, which is worth the greater error (Sullivan 1996, section IV)."""


MIN_SCALE, SLOPE_UNIT = 0.02, 0.2
"""The smallest scale of a context, in steps, and the unit of its factors of magnitudes."""


def quantise_dead_zone(y: Tensor) -> Tensor:
    """Values in steps to the nearest integers, those just beyond half-way to the one nearer zero."""
    return torch.add(y, torch.sign(y), alpha=1 - FIRST_THRESHOLD).trunc_()


def straight_through(y: Tensor) -> Tensor:
    """`quantise_dead_zone`, with the gradient of the identity (Bengio, Leonard and Courville 2013, section 4)."""
    return y + (quantise_dead_zone(y) - y).detach()


def with_noise(y: Tensor, generator: torch.Generator) -> Tensor:
    """Values with uniform noise of a step, whose rate stands for that of the symbols (Balle et al. 2017, section 3)."""
    noise = torch.rand(y.shape, generator=generator).to(y.device)
    return y + noise - 0.5


def laplace_bits(y: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the probability that the Laplace distribution of a scale gives to the step about y. Same shape."""
    upper = -(y.abs() - 0.5)
    lower = -(y.abs() + 0.5)
    half = 0.5 * torch.exp(-upper.abs() / scale)
    inside = torch.where(upper > 0, 1 - half, half)
    probability = inside - 0.5 * torch.exp(lower / scale)
    return -torch.log2(probability.clamp(min=1e-9))


class ScaleContext(nn.Module):
    """The scale of each latent, predicted from the magnitudes of the groups before it as `ContextPrior` does.

    Trained as floating-point numbers, with magnitudes of noisy values; `weights` gives them for the integers.
    """

    _members: Tensor
    _mask: Tensor

    def __init__(self, deviations: Tensor) -> None:
        """`deviations` (channels,) are those of the latents in steps, from which the scales start."""
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
        """The context that has these `weights`, for steps so many times as fine."""
        context = cls(torch.ones(len(weights)))
        target = torch.from_numpy(weights).float()
        share = context._share()
        with torch.no_grad():
            constant = ((target[:, 0] * finer - MIN_SCALE) / share).clamp(1e-3, 80.0)  # e^89 is beyond float32
            context.base.copy_(torch.log(torch.expm1(constant)))
            context.slopes.copy_(torch.log(torch.expm1((target[:, 1:] / SLOPE_UNIT).clamp(1e-4, 50.0))))
        return context

    def _share(self) -> Tensor:
        """Where there is something to learn from, a part of the constant is left to it."""
        return torch.where(self._mask.any(1), 0.5, 1.0)

    def _factors(self) -> tuple[Tensor, Tensor]:
        constant = F.softplus(self.base)
        return constant * self._share() + MIN_SCALE, SLOPE_UNIT * F.softplus(self.slopes) * self._mask

    def forward(self, y: Tensor) -> Tensor:
        """Scales, in steps, of a grid of latents."""
        constant, slopes = self._factors()
        magnitudes = torch.einsum("nchw,cg->nghw", y.abs().clamp(max=MAX_MAGNITUDE), self._members)
        around = F.avg_pool2d(F.pad(magnitudes, (1, 1, 1, 1), mode="replicate"), 3, 1)
        everywhere = magnitudes.mean((2, 3), keepdim=True).expand_as(magnitudes)
        features = torch.cat([magnitudes, around, everywhere], 1)
        return torch.einsum("nfhw,cf->nchw", features, slopes) + constant[:, None, None]

    def weights(self) -> Tensor:
        """(channels, 1 + 3 groups) float64, in steps, for `ContextPrior.fitted`."""
        with torch.no_grad():
            constant, slopes = self._factors()
            return torch.cat([constant[:, None], slopes], 1).double()
