"""The initial transform on frequency bands: for each band, a Karhunen-Loève transform over channels.

Values are weighted by the tail's sensitivity, which is that of the probabilities of its classes: the Fisher matrix
E[g g^T] of gradients g of log p(k), with the class k drawn from the softmax p (Kunstner, Hennig and Balles 2019,
section 2). An error that changes no probability costs nothing, however much it changes outputs.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codecbench.codec import FitData, TensorSpec
from codecbench.toolbox.bands.frequency_bands import FEW_CHANNELS, BlockCosines
from codecbench.toolbox.coding.scale_model import MAX_MAGNITUDE, group_sizes
from codecbench.toolbox.learning.batches import as_tensors, batch_size
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.rates import SLOPE_UNIT, ScaleContext, quantise_dead_zone
from codecbench.toolbox.transforms.sensitivity import floating_tensors
from codecbench.toolbox.transforms.tiling import Tiling

MIN_DEVIATION = 1 / 4
"""Latents with a smaller standard deviation at the start, in steps, are left out."""

MAX_LATENTS = 8192
"""The largest number of latents of a block."""

FLOOR = 1e-3
"""Added to the sensitivity to each direction of a band, in units of the band's mean."""

DRAWS = 2
"""The number of classes that are drawn for a sample."""

GRADIENT_SAMPLES, FEW_GRADIENT_SAMPLES, COVARIANCE_SAMPLES, BATCH = 1500, 500, 3000, 32
MANY_BLOCKS = 16
"""FEW_GRADIENT_SAMPLES are enough where a sample has more blocks than this."""


@dataclass(frozen=True, eq=False)
class Band:
    """The transform of one band over its channels.

    `matrix` (components, channels) maps coefficients to steps, `inverse` (channels, components) maps back.
    """

    matrix: Tensor
    inverse: Tensor


@dataclass(frozen=True, eq=False)
class BandStart:
    """A transform of blocks on frequency bands, with one step for all latents.

    `mean` (channels, frequencies) is that of the coefficients. The components of all bands at all their frequencies,
    band by band and component by component, are the possible latents. `kept` (latents,) are the indices of those that
    are sent, by falling standard deviation. `scales` (latents,) are those of Laplace distributions, in steps, that give
    as many zeros as there are, and `magnitudes` (latents,) the mean magnitudes of symbols. Decoded values are clamped
    to `limits`; `max_magnitude` is the largest magnitude of a training value.
    """

    spec: TensorSpec
    tiling: Tiling
    bands: list[Band]
    mean: Tensor
    kept: Tensor
    scales: Tensor
    magnitudes: Tensor
    limits: tuple[float, float]
    max_magnitude: float

    @property
    def geometry(self) -> Geometry:
        """The layout of the longest sample."""
        return Geometry(self.tiling, self.spec.max_shape)

    @classmethod
    def of(cls, data: FitData, relative_step: float, tiling: Tiling) -> BandStart:
        """Return the start for training data, with blocks of `tiling` along the last two of three axes.

        `relative_step` is the step in units of the root-mean-square deviation of the weighted values.
        """
        geometry = Geometry(tiling, data.spec.max_shape)
        cosines = cosines_of(geometry)
        gradients, few = _Sums(cosines, geometry), math.prod(geometry.grid) > MANY_BLOCKS
        for batch in fisher_gradients(data, FEW_GRADIENT_SAMPLES if few else GRADIENT_SAMPLES):
            gradients.add(batch)
        values = _Sums.of_samples(data, cosines, geometry)
        weighted = [
            _Weighted.of(products / len(members), values.covariance(at))
            for at, (members, products) in enumerate(zip(cosines.bands, gradients.products, strict=True))
        ]
        energy = sum(float(of_band.variances.sum()) for of_band in weighted)
        step = relative_step * math.sqrt(energy / geometry.values) or 1.0
        bands = [of_band.band(len(members), step) for of_band, members in zip(weighted, cosines.bands, strict=True)]
        return cls._counted(data, bands, tiling, values)

    @classmethod
    def of_bands(cls, data: FitData, bands: list[Band], tiling: Tiling) -> BandStart:
        """Return the start with these transforms of the bands."""
        geometry = Geometry(tiling, data.spec.max_shape)
        return cls._counted(data, bands, tiling, _Sums.of_samples(data, cosines_of(geometry), geometry))

    @classmethod
    def _counted(cls, data: FitData, bands: list[Band], tiling: Tiling, values: _Sums) -> BandStart:
        cosines, geometry, matrices = values.cosines, values.geometry, [band.matrix for band in bands]
        deviations, scales, magnitudes = _spreads(data, matrices, values.mean, cosines, geometry)
        order = deviations.argsort(descending=True, stable=True)
        kept = order[: max(1, min(MAX_LATENTS, int((deviations > MIN_DEVIATION).sum())))]
        limits = values.low, values.high
        return cls(
            data.spec, tiling, bands, values.mean, kept, scales[kept], magnitudes[kept], limits, max(map(abs, limits))
        )  # fmt: skip

    def context(self) -> ScaleContext:
        """Return a context that starts at `scales` on average: half of a scale follows the earlier groups' magnitudes.

        Each earlier group has the same part in that half, as far as it differs from its mean.
        """
        sizes = group_sizes(len(self.kept))
        earlier = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        sums = torch.stack([group.sum() for group in torch.split(self.magnitudes, sizes)]).clamp(min=1e-3)
        factors = self.scales[:, None] / (6 * earlier[:, None].clamp(min=1) * sums)
        context = ScaleContext(torch.ones(len(self.kept)))
        with torch.no_grad():
            context.base.copy_(inverse_softplus(self.scales))
            context.slopes.copy_(inverse_softplus(factors.repeat(1, 3) / SLOPE_UNIT))
        return context


def inverse_softplus(values: Tensor) -> Tensor:
    """Return what softplus maps to these values, of at least 1e-7."""
    clamped = values.double().clamp(min=1e-7)
    return (clamped + torch.log(-torch.expm1(-clamped))).float()


def cosines_of(geometry: Geometry) -> BlockCosines:
    """Return the cosine transform of the blocks of a geometry, with the bands that suit its channels."""
    rows, columns = geometry.block
    return BlockCosines(rows, columns, fine=geometry.channels <= FEW_CHANNELS)


def fisher_gradients(data: FitData, count: int) -> Iterator[Tensor]:
    """Yield gradients of log p(k), (n, *shape), for classes k drawn from the softmax p of the tail's first output.

    For an output that is no row of scores, they are gradients of its sum with random signs, for which E[g g^T] is that
    of its Jacobian. DRAWS for each of up to about `count` samples, within a fifth of the fit's time.
    """
    generator = torch.Generator().manual_seed(data.seed)
    seen = 0
    for batch in as_tensors(data.batches(batch_size(data.spec, BATCH))):
        xs = batch.to(data.torch_device).detach().requires_grad_()
        with torch.enable_grad():
            output = next(floating_tensors(data.tail(xs)))
            scores = [_drawn_score(output, generator) for _ in range(DRAWS)]
            for score in scores:
                yield _gradient(score, xs, keep=score is not scores[-1])
        seen += len(xs)
        if seen >= count or data.remaining_s() < 0.8 * data.max_s:
            return


def _gradient(score: Tensor, xs: Tensor, *, keep: bool) -> Tensor:
    """Return the gradient, zero for an output that does not depend on the samples; with `keep`, the graph is kept."""
    found = None
    if score.requires_grad:
        (found,) = torch.autograd.grad(score, xs, retain_graph=keep, allow_unused=True)
    return torch.zeros(xs.shape) if found is None else found.cpu()


def _drawn_score(output: Tensor, generator: torch.Generator) -> Tensor:
    if output.ndim == 2 and output.shape[1] > 1:
        logarithms = output.log_softmax(1)
        drawn = torch.multinomial(logarithms.detach().exp().cpu(), 1, generator=generator)
        return logarithms.gather(1, drawn.to(output.device)).sum()
    signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
    return (output * signs).sum()


def _samples(data: FitData) -> Iterator[Tensor]:
    """Yield training batches of up to COVARIANCE_SAMPLES samples, at least one batch, within half of the fit's time."""
    seen = 0
    for batch in as_tensors(data.batches(batch_size(data.spec, BATCH))):
        yield batch
        seen += len(batch)
        if seen >= COVARIANCE_SAMPLES or data.remaining_s() < data.max_s / 2:
            return


class _Sums:
    """Sums over blocks: of coefficients, and for each band of the products of its channels (channels, channels)."""

    def __init__(self, cosines: BlockCosines, geometry: Geometry) -> None:
        self.cosines, self.geometry = cosines, geometry
        self.blocks, self.low, self.high = 0, math.inf, -math.inf
        self.total = torch.zeros(geometry.channels, cosines.rows * cosines.columns, dtype=torch.float64)
        self.products = [torch.zeros(geometry.channels, geometry.channels, dtype=torch.float64) for _ in cosines.bands]

    @classmethod
    def of_samples(cls, data: FitData, cosines: BlockCosines, geometry: Geometry) -> _Sums:
        """Return the sums of `_samples`."""
        sums = cls(cosines, geometry)
        for batch in _samples(data):
            sums.add(batch)
        return sums

    def add(self, samples: Tensor) -> None:
        """Add the blocks of a batch."""
        self.low, self.high = min(self.low, float(samples.min())), max(self.high, float(samples.max()))
        coefficients = self.cosines(samples, self.geometry).flatten(0, 1)
        self.blocks += len(coefficients)
        self.total += coefficients.sum(0)
        for products, members in zip(self.products, self.cosines.bands, strict=True):
            rows = coefficients[:, :, members].transpose(1, 2).flatten(0, 1)
            products += rows.T @ rows

    @property
    def mean(self) -> Tensor:
        """The mean of each coefficient, (channels, frequencies)."""
        return (self.total / self.blocks).float()

    def covariance(self, at: int) -> Tensor:
        """Return the covariance of the channels of a band, summed over its frequencies."""
        mean = self.total[:, self.cosines.bands[at]] / self.blocks
        return self.products[at] / self.blocks - mean @ mean.T


@dataclass(frozen=True, eq=False)
class _Weighted:
    """The principal axes of a band's weighted values: variances, largest first, and matrices there and back."""

    variances: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, sensitivity: Tensor, covariance: Tensor) -> _Weighted:
        """Return the axes for matrices (channels, channels); a variance is summed over the band's frequencies."""
        energies, axes = torch.linalg.eigh(sensitivity)
        energies = energies.clamp(min=0) + FLOOR * energies.mean().clamp(min=1e-30)
        root, inverse = (axes * energies.sqrt()) @ axes.T, (axes / energies.sqrt()) @ axes.T
        variances, vectors = torch.linalg.eigh(root @ covariance @ root)
        vectors = vectors.flip(1)
        return cls(variances.flip(0).clamp(min=0), vectors.T @ root, inverse @ vectors)

    def band(self, frequencies: int, step: float) -> Band:
        """Return the band of this number of frequencies in steps, with the components that may be large enough."""
        deviations = (self.variances / frequencies).sqrt() / step
        count = int((deviations > MIN_DEVIATION / 2).sum())
        return Band((self.matrix[:count] / step).float(), (self.inverse[:, :count] * step).float())


def _spreads(
    data: FitData, matrices: Sequence[Tensor], mean: Tensor, cosines: BlockCosines, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the standard deviation of each possible latent, in steps, then its scale and its symbols' mean magnitude.

    The last two are as in `BandStart`.
    """
    count = 0
    squares, sent, magnitudes = torch.zeros(
        3, sum(len(m) * len(at) for m, at in zip(matrices, cosines.bands, strict=True))
    )
    for batch in _samples(data):
        components = cosines.components(cosines(batch, geometry) - mean, matrices).flatten(0, 1)
        symbols = quantise_dead_zone(components)
        squares += components.square().sum(0)
        sent += (symbols != 0).sum(0)
        magnitudes += symbols.abs().clamp(max=MAX_MAGNITUDE).sum(0)
        count += len(components)
    share = (sent + 0.5) / (count + 1)
    return (squares / count).sqrt(), -0.5 / torch.log(share), magnitudes / count
