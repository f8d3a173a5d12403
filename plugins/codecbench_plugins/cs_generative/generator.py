"""`cs-generative`: random measurements of an image, reconstructed over the latent of a small trained generator.

Compressed sensing with a generative model: y = E x on the device, and on the edge G(z) for the latent z that minimises
||y - E G(z)||^2 + lambda ||z||^2, by gradient descent from several starts (Bora, Jalal, Price and Dimakis 2017,
"Compressed Sensing using Generative Models", section 2; the term in z is that of their experiments, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.coding.prior import Prior
from codecbench.toolbox.sensing.bases import dct_basis
from codecbench.toolbox.transforms.uniform import to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MAX_VALUES = 4096
"""Of the largest image: the edge holds a dense matrix of measurements by values."""

SEED = 2017
"""Of the measurements; the same on both sides, and for all fits."""

LATENTS, HIDDEN, COEFFICIENTS = 192, 192, 384
PICTURES_PER_LATENT = 16
"""A latent for so many training pictures at most, so that few pictures make a small generator."""

FIT_PICTURES = 10_000
TRAINING_STEPS, TRAINING_BATCH, LEARNING_RATE = 3000, 128, 1e-3
ENCODER_WIDTH = 256
LEAST_VARIANCE = 1e-8
SHIFT = 3
"""Training pictures are mirrored at random, and moved by up to so many pixels."""

STARTS, DESCENT_STEPS, DESCENT_RATE, SPREAD = 2, 40, 0.2, 1.0
"""Of the search for a latent; further starts are normal about the first one with a standard deviation of SPREAD."""

DECODE_CHUNK, BATCH = 128, 100


class CsGenerative(Codec):
    """Signed, shuffled Hadamard measurements of an image; Adam over the latent of a generator of DCT coefficients.

    The device sends `measurements` random products of length 1 with the image less the mean picture, in steps of `step`
    grey levels, entropy-coded by one trained prior. The generator is a network with a hidden layer and a linear path
    beside it, from a latent to the COEFFICIENTS DCT coefficients that vary most. It starts as the principal components,
    and is trained as the decoder of a variational autoencoder, which also learns the variance of what it misses.

    `variant="faithful"` is the method as published: the picture is G(z), and no better than the generator.
    `variant="best"` lets it miss coefficients as it did on held-out pictures, independent and normal, where Sparse-Gen
    (Dhar, Grover and Ermon 2018, section 3) has a sparse miss. ||y - E G(z)||^2 is weighted by the inverse covariance
    of y - E G(z), to which the miss and the quantiser add, and the expected miss, given y - E G(z), is added to G(z).
    """

    name = "cs-generative"
    tags = frozenset({"learned"})
    points = ({"variant": "best", "measurements": 256, "step": 24},)
    rows_by = ("variant",)
    checkpoints = "codecbench_plugins:checkpoints/cs-generative"

    variant: str
    measurements: int
    step: float

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._state: dict[str, NDArray[Any]] = {}

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """A twelfth to two thirds of the values as measurements, finer steps where there are more of them."""
        if not spec.image:
            return cls.points
        values = math.prod(spec.max_shape)
        best = ((1 / 12, 24), (1 / 6, 24), (1 / 3, 12), (1 / 2, 8), (2 / 3, 5))
        settings = [("faithful", *setting) for setting in best[:4]] + [("best", *setting) for setting in best]
        rows = {(variant, max(1, round(values * share)), step): None for variant, share, step in settings}
        return tuple(dict(zip(("variant", "measurements", "step"), row, strict=True)) for row in rows)

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """The finest."""
        return cls.points_for(spec)[-1:]

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Needs an image, not too large, and settings that make sense for it."""
        if not spec.image:
            return "needs an image"
        values = math.prod(spec.max_shape)
        if not 0 < values <= MAX_VALUES:
            return f"needs an image of 1 to {MAX_VALUES} values, got {values}"
        variant, measurements, step = (point.get(key, default) for key, default in cls.point_defaults(spec).items())
        if not isinstance(measurements, int) or not 1 <= measurements <= values:
            return f"measurements is a number from 1 to {values}, not {measurements!r}"
        if not isinstance(step, int | float) or not 0 < step <= 255:
            return f"step is over 0 and at most 255 grey levels, not {step!r}"
        return None if variant in ("faithful", "best") else f"variant is 'best' or 'faithful', not {variant!r}"

    def fit(self, data: FitData) -> None:
        """Train the generator for TRAINING_STEPS, or until time is up, and the prior on the training pictures."""
        import numpy as np
        import torch

        pictures = _all_pictures(data.batches(BATCH))
        mean = np.rint((pictures + pictures[..., ::-1].astype(np.float64)).mean(0) / 2)
        centred, held_out = (
            torch.from_numpy(((levels - mean) / 255).astype(np.float32))
            for levels in (pictures, _all_pictures(data.held_out(BATCH)))
        )
        training = Training(centred, Basis(self.spec.max_shape), data.seed)
        training.run(data.remaining_s, data.progress)
        self._state = {**training.state(held_out), "mean": mean.astype(np.uint8)}
        symbols = np.concatenate([self._quantised(picture) for picture in pictures])[None]
        prior = Prior.fitted(symbols, margin=int(np.ptp(symbols)) // 4 + 1)
        self._state["prior"] = np.frombuffer(prior.to_bytes(), np.uint8)

    def export(self, side: Side) -> bytes:
        """The mean picture and the prior; on the edge, the generator and the variances of what it misses as well."""
        from safetensors.numpy import save

        names = ("mean", "prior") if side == "device" else tuple(self._state)
        return save({name: self._state[name] for name in names}) if self._state else b""

    def restore(self, side: Side, state: bytes) -> None:
        """Take what `export` gave."""
        from safetensors.numpy import load

        self._state = load(state) if state else {}

    @cached_property
    def _prior(self) -> Prior:
        return Prior.from_bytes(self._state["prior"].tobytes())

    @cached_property
    def _measuring(self) -> Measuring:
        return Measuring(math.prod(self.spec.max_shape), self.measurements)

    @cached_property
    def _reconstruction(self) -> Reconstruction:
        import torch

        arrays = {name: torch.tensor(values, dtype=torch.float64) for name, values in self._state.items()}
        return Reconstruction(
            Generator(**{field.name: arrays[field.name] for field in fields(Generator)}),
            arrays["order"].long(), arrays["variances"], arrays["mean"] / 255, Basis(self.spec.max_shape),
            self._measuring.matrix(), self.step / 255, corrected=self.variant == "best",
        )  # fmt: skip

    def _quantised(self, picture: NDArray[Any]) -> NDArray[np.float64]:
        """Flat symbols of a picture of grey levels; the sums behind them are of integers, and exact."""
        import numpy as np

        sums = self._measuring.sums(picture - self._state["mean"].astype(np.float64))
        return np.rint(sums / (self.step * math.sqrt(picture.size)))

    def _symbols(self, x: Tensor) -> NDArray[np.int32]:
        return self._prior.clip(self._quantised(to_pixels(x.numpy()))[None])

    def encode(self, x: Tensor) -> bytes:
        """The measurements' symbols under the prior, and nothing else."""
        return self._prior.encode(self._symbols(x))

    def bound_bytes(self, x: Tensor) -> float:
        """Of the symbols under the prior."""
        return self._prior.bound_bytes(self._symbols(x))

    def decode(self, payload: bytes) -> Tensor:
        """The picture whose latent explains the measurements best."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """All latents of a chunk are searched for together; each takes the same steps as alone."""
        import numpy as np
        import torch

        pictures: list[Tensor] = []
        for start in range(0, len(payloads), DECODE_CHUNK):
            chunk = payloads[start : start + DECODE_CHUNK]
            symbols = np.stack([self._prior.decode(payload, self.measurements)[0] for payload in chunk])
            measured = torch.from_numpy(symbols.astype(np.float64)) * (self.step / 255)
            pictures += [picture.clone() for picture in self._reconstruction.pictures(measured).float()]
        return pictures


# --- measurements and coefficients ---------------------------------------------------------------------------------


class Measuring:
    """Rows of a Hadamard matrix at random, its columns shuffled and with random signs; `length` columns are used.

    The matrix is of the next power of two (Sylvester): rows are orthogonal where that is the length, else nearly so. It
    is never formed to measure: as a Kronecker product of two of about the root of its size it takes two small products.
    Its entries are 1 and -1, so that sums of integers are exact in float64.
    """

    def __init__(self, length: int, count: int) -> None:
        import numpy as np

        bits = (length - 1).bit_length()
        # The legacy generator, because its streams are frozen: both sides may have other versions of numpy.
        random = np.random.RandomState(SEED)
        self.columns = random.permutation(1 << bits)[:length]
        self.signs = random.randint(0, 2, length) * 2.0 - 1
        self.rows = random.permutation(1 << bits)[:count]
        self._factors = [_hadamard(bits - bits // 2), _hadamard(bits // 2)]

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The measurements, (count,), of `length` values, not scaled: sums of the values with their signs."""
        import torch

        left, right = self._factors
        spread = torch.zeros(left.shape[0] * right.shape[0], dtype=torch.float64)
        spread[self.columns] = torch.from_numpy(self.signs * values.reshape(-1))
        sums = left @ spread.reshape(left.shape[0], right.shape[0]) @ right
        measured: NDArray[np.float64] = sums.reshape(-1).numpy()[self.rows]
        return measured

    def matrix(self) -> Tensor:
        """E, (count, length), with rows of length 1."""
        import torch

        left, right = self._factors
        rows, columns = torch.from_numpy(self.rows), torch.from_numpy(self.columns)
        size = right.shape[0]
        signs = left[rows // size][:, columns // size] * right[rows % size][:, columns % size]
        return signs * torch.from_numpy(self.signs) / math.sqrt(len(self.signs))


def _hadamard(bits: int) -> Tensor:
    """Sylvester's matrix of order 2^bits."""
    import torch

    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(bits):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


class Basis:
    """The orthonormal DCT over channels, rows and columns of an image, axis by axis."""

    def __init__(self, shape: Sequence[int]) -> None:
        import torch

        self.shape = tuple(shape)
        self._axes = [torch.from_numpy(dct_basis((extent,))) for extent in shape]

    def coefficients(self, pictures: Tensor) -> Tensor:
        """Flat coefficients, (count, n), of pictures in any shape."""
        import torch

        axes = [axis.to(pictures) for axis in self._axes]
        return torch.einsum("nchw,ca,hb,wd->nabd", pictures.reshape(-1, *self.shape), *axes).flatten(1)

    def values(self, coefficients: Tensor) -> Tensor:
        """The inverse: pictures, (count, *shape)."""
        import torch

        axes = [axis.to(coefficients) for axis in self._axes]
        return torch.einsum("nabd,ca,hb,wd->nchw", coefficients.reshape(-1, *self.shape), *axes)


# --- the generator and the search for a latent ---------------------------------------------------------------------


@dataclass(frozen=True)
class Generator:
    """G(z) = z L + tanh(z W + b) V + c: latents (count, d) to DCT coefficients (count, K)."""

    linear: Tensor
    inner: Tensor
    bias: Tensor
    outer: Tensor
    offset: Tensor

    def __call__(self, latents: Tensor) -> Tensor:
        """Coefficients."""
        return self.output(latents, self.hidden(latents))

    def hidden(self, latents: Tensor) -> Tensor:
        """Values of the hidden layer, (count, width)."""
        return (latents @ self.inner + self.bias).tanh()

    def output(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """Coefficients of latents and their hidden values."""
        return latents @ self.linear + hidden @ self.outer + self.offset

    def pulled_back(self, slope: Tensor, hidden: Tensor) -> Tensor:
        """The gradient in the latents of a loss whose gradient in the coefficients is `slope`."""
        return slope @ self.linear.T + (slope @ self.outer.T * (1 - hidden * hidden)) @ self.inner.T

    def seen_from(self, change: Tensor) -> Generator:
        """The generator of v, where z = v `change`."""
        return replace(self, linear=change @ self.linear, inner=change @ self.inner)


class Search:
    """argmin over z of 1/2 (y - E G(z))^T S^-1 (y - E G(z)) + 1/2 ||z||^2, for a batch of y.

    `gram` is E^T S^-1 E, (K, K), E and G being in coefficients, so that no step costs a product with E. Adam works on
    v = z C with C C^T the Hessian at z = 0, the curvature of the hidden layer left out: there the linear part of the
    problem is a sphere. The search begins at its centre, and at STARTS - 1 places about it, and takes a fixed number of
    steps; the least objective counts. All is in float64, so that rounding, which differs between batches, stays small.
    """

    def __init__(self, generator: Generator, gram: Tensor) -> None:
        import torch

        self._gram = gram
        identity = torch.eye(len(generator.linear), dtype=torch.float64)
        origin = torch.zeros_like(identity[:1])
        slopes = generator.linear + (generator.inner * (1 - generator.hidden(origin) ** 2)) @ generator.outer
        factor = torch.linalg.cholesky(identity + slopes @ gram @ slopes.T)
        self._change = torch.linalg.solve_triangular(factor, identity, upper=False)
        self._generator = generator.seen_from(self._change)
        random = torch.Generator().manual_seed(SEED)
        self._offsets = SPREAD * torch.randn(STARTS, len(identity), generator=random, dtype=torch.float64)
        self._offsets[0] = 0

    def coefficients(self, pull: Tensor) -> Tensor:
        """G of the best latents, (count, K), for `pull` = E^T S^-1 y, (count, K)."""
        import torch

        from codecbench.toolbox.learning.trainer import Adam

        count = len(pull)
        pull = pull.repeat(STARTS, 1)
        places = pull.new_zeros(len(pull), len(self._change))
        # In these coordinates a step as long as the gradient goes to the centre.
        places -= self._gradient(places, pull)
        places += self._offsets.repeat_interleave(count, 0)
        adam = Adam([places])
        for step in range(DESCENT_STEPS):
            adam.step([self._gradient(places, pull)], DESCENT_RATE * (1 - step / DESCENT_STEPS))
        generated = self._generator(places)
        loss = self._objective(places, generated, pull).reshape(STARTS, count)
        return generated.reshape(STARTS, count, -1)[loss.argmin(0), torch.arange(count)]

    def _gradient(self, places: Tensor, pull: Tensor) -> Tensor:
        hidden = self._generator.hidden(places)
        slope = self._generator.output(places, hidden) @ self._gram - pull
        gradient: Tensor = self._generator.pulled_back(slope, hidden) + places @ self._change @ self._change.T
        return gradient

    def _objective(self, places: Tensor, generated: Tensor, pull: Tensor) -> Tensor:
        """Less 1/2 y^T S^-1 y, which all starts share; (count,)."""
        data = (generated * (generated @ self._gram / 2 - pull)).sum(1)
        objective: Tensor = data + (places @ self._change).square().sum(1) / 2
        return objective


class Reconstruction:
    """Measurements to pictures. `variances`, (n,), are those of what the generator misses of each coefficient."""

    def __init__(
        self, generator: Generator, order: Tensor, variances: Tensor, mean: Tensor, basis: Basis, measuring: Tensor,
        step: float, *, corrected: bool,
    ) -> None:  # fmt: skip
        import torch

        self._order, self._mean, self._basis = order, mean, basis
        seen = basis.coefficients(measuring)
        self._seen = seen[:, order]
        noise = step * step / 12
        if corrected:
            self._missed = seen * variances
            covariance = self._missed @ seen.T
            covariance.diagonal().add_(noise)
            self._factor = torch.linalg.cholesky(covariance)
            self._weighted = torch.cholesky_solve(self._seen, self._factor)
        else:
            self._factor = None
            self._weighted = self._seen / (variances.mean() + noise)
        self._search = Search(generator, self._seen.T @ self._weighted)

    def pictures(self, measured: Tensor) -> Tensor:
        """Pictures with values from 0 to 1, (count, *shape), of measurements (count, m)."""
        import torch

        generated = self._search.coefficients(measured @ self._weighted)
        coefficients = measured.new_zeros(len(measured), len(self._mean.reshape(-1)))
        if self._factor is not None:
            unexplained = measured - generated @ self._seen.T
            coefficients = torch.cholesky_solve(unexplained.T, self._factor).T @ self._missed
        coefficients[:, self._order] += generated
        return (self._mean + self._basis.values(coefficients)).clamp_(0, 1)


# --- training ------------------------------------------------------------------------------------------------------


def _all_pictures(batches: Iterator[tuple[Tensor | list[Tensor], list[Any]]]) -> NDArray[np.uint8]:
    """Training pictures as grey levels, FIT_PICTURES of them at most."""
    import numpy as np

    found: list[NDArray[np.uint8]] = []
    for xs, _ in batches:
        found += [to_pixels(x.numpy()) for x in xs]
        if len(found) >= FIT_PICTURES:
            break
    return np.stack(found)


class Training:
    """A variational autoencoder (Kingma and Welling 2014) of DCT coefficients, whose decoder is the generator.

    `pictures` are centred, (count, *shape). The likelihood is normal with a variance for each coefficient: the mean
    square error of late. Encoder and decoder start as the principal components, with a hidden layer beside them.
    Coefficients have variance 1 in here.
    """

    def __init__(self, pictures: Tensor, basis: Basis, seed: int) -> None:
        import torch

        self._pictures, self._basis = pictures, basis
        self._random = torch.Generator().manual_seed(seed)
        coefficients = torch.cat([basis.coefficients(pictures[i : i + 512]) for i in range(0, len(pictures), 512)])
        self._variances = coefficients.square().mean(0)
        self._order = self._variances.argsort(descending=True, stable=True)[:COEFFICIENTS]
        self._scale = self._variances[self._order].sqrt().clamp(min=1e-6)
        self._weights = self._start(coefficients[:, self._order])
        self._missed = torch.ones(len(self._order))

    def _start(self, coefficients: Tensor) -> dict[str, Tensor]:
        import torch

        count, width = coefficients.shape
        latents = max(1, min(LATENTS, count // PICTURES_PER_LATENT, width))
        hidden = min(HIDDEN, latents)
        powers, directions = torch.linalg.eigh((coefficients.T @ coefficients / count).double())
        deviations = powers.flip(0)[:latents].clamp(min=1e-8).sqrt().float()
        directions = directions.flip(1)[:, :latents].float()
        weights = {
            "linear": (directions * deviations).T / self._scale,
            "inner": self._normal(latents, hidden) / math.sqrt(latents),
            "bias": self._normal(hidden) / 2,
            "outer": self._normal(hidden, width) / 1000,
            "offset": torch.zeros(width),
            "to_mean": self._scale[:, None] * directions / deviations,
            "to_hidden": self._normal(width, ENCODER_WIDTH) / math.sqrt(width),
            "from_hidden": torch.zeros(ENCODER_WIDTH, latents),
            "log_variance": torch.full((latents,), -4.0),
        }
        return {name: weight.contiguous().requires_grad_() for name, weight in weights.items()}

    def _normal(self, *shape: int) -> Tensor:
        import torch

        return torch.randn(*shape, generator=self._random)

    def run(self, remaining_s: Callable[[], float], progress: Callable[[float, str], None]) -> None:
        """TRAINING_STEPS of Adam, fewer where time is up."""
        import torch

        from codecbench.toolbox.learning.trainer import Adam

        weights = list(self._weights.values())
        adam = Adam(weights)
        for step in range(TRAINING_STEPS):
            if remaining_s() <= 0:
                break
            errors, divergence = self._pass(self._coefficients(self._batch()))
            # Less a constant, the negative evidence lower bound of a picture, in nats.
            loss = ((errors.square() / self._missed).sum(1).mean() + self._missed.log().sum()) / 2 + divergence
            adam.step(torch.autograd.grad(loss, weights), LEARNING_RATE * (1 - step / TRAINING_STEPS))
            self._missed.lerp_(errors.detach().square().mean(0), 0.02)
            if step % 50 == 0:
                progress(step / TRAINING_STEPS, f"training the generator: {loss.item():.1f} nats a picture")

    def _pass(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Errors of the decoded coefficients, and the mean divergence of the latents from the normal distribution."""
        import torch
        from torch.nn.functional import silu

        weights = self._weights
        mean = coefficients @ weights["to_mean"] + silu(coefficients @ weights["to_hidden"]) @ weights["from_hidden"]
        log_variance = weights["log_variance"]
        noise = torch.randn(mean.shape, generator=self._random)
        decoded = self._generator(mean + noise * (log_variance / 2).exp())
        divergence = mean.square().sum(1).mean() + (log_variance.exp() - log_variance - 1).sum()
        return decoded - coefficients, divergence / 2

    @property
    def _generator(self) -> Generator:
        return Generator(**{field.name: self._weights[field.name] for field in fields(Generator)})

    def _batch(self) -> Tensor:
        """Pictures at random, half of them mirrored, all moved by the same random offset over repeated edges."""
        import torch
        from torch.nn.functional import pad

        chosen = torch.randint(len(self._pictures), (TRAINING_BATCH,), generator=self._random)
        pictures = self._pictures[chosen]
        mirrored = torch.rand(TRAINING_BATCH, 1, 1, 1, generator=self._random) < 0.5
        pictures = torch.where(mirrored, pictures.flip(3), pictures)
        down, right = torch.randint(2 * SHIFT + 1, (2,), generator=self._random).tolist()
        height, width = pictures.shape[2:]
        padded = pad(pictures, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
        return padded[:, :, down : down + height, right : right + width]

    def _coefficients(self, pictures: Tensor) -> Tensor:
        return self._basis.coefficients(pictures)[:, self._order] / self._scale

    def state(self, held_out: Tensor) -> dict[str, NDArray[Any]]:
        """The generator, which coefficients it makes, and the variance of what it misses of each on new pictures."""
        import numpy as np
        import torch

        with torch.no_grad():
            errors, _ = self._pass(self._coefficients(held_out))
            variances = self._variances.clone()
            variances[self._order] = errors.square().mean(0) * self._scale.square()
            generator = self._generator
            scaled = {name: getattr(generator, name) * self._scale for name in ("linear", "outer", "offset")}
            scaled |= {"inner": generator.inner, "bias": generator.bias}
        return {
            **{name: weight.detach().numpy().astype(np.float16) for name, weight in scaled.items()},
            "order": self._order.numpy().astype(np.int16),
            "variances": variances.clamp(min=LEAST_VARIANCE).numpy(),
        }


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [CsGenerative]
