"""Training of the generator as the decoder of a variational autoencoder.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad, silu

from codecbench.toolbox.transforms import to_pixels
from codecbench_plugins.cs_generative.generator import Generator
from codecbench_plugins.cs_generative.measuring import Basis

LATENTS, HIDDEN, COEFFICIENTS = 192, 192, 384
PICTURES_PER_LATENT = 16
"""At least this number of training pictures for each latent, so that few pictures give a small generator."""

FIT_PICTURES = 10_000
TRAINING_STEPS, TRAINING_BATCH, LEARNING_RATE = 3000, 128, 1e-3
ENCODER_WIDTH = 256
MIN_VARIANCE = 1e-8
SHIFT = 3
"""Training pictures are mirrored at random and shifted by up to 3 pixels."""


def all_pictures(batches: Iterator[tuple[Tensor | list[Tensor], list[Any]]]) -> NDArray[np.uint8]:
    """Return training pictures as grey levels, at most about FIT_PICTURES of them."""
    found: list[NDArray[np.uint8]] = []
    for xs, _ in batches:
        found += [to_pixels(x.numpy()) for x in xs]
        if len(found) >= FIT_PICTURES:
            break
    return np.stack(found)


class Training:
    """A variational autoencoder (Kingma and Welling 2014) of DCT coefficients, whose decoder is the generator.

    `pictures` are centred, (count, *shape). The likelihood is normal, with a variance for each coefficient: a running
    mean of its squared error. Encoder and decoder start as the principal components, with a parallel hidden layer.
    Inside this class, coefficients are scaled to variance 1.
    """

    def __init__(self, pictures: Tensor, basis: Basis, seed: int) -> None:
        self._pictures, self._basis = pictures, basis
        self._random = torch.Generator().manual_seed(seed)
        coefficients = torch.cat([basis.coefficients(pictures[i : i + 512]) for i in range(0, len(pictures), 512)])
        self._variances = coefficients.square().mean(0)
        self._order = self._variances.argsort(descending=True, stable=True)[:COEFFICIENTS]
        self._scale = self._variances[self._order].sqrt().clamp(min=1e-6)
        self._weights = self._start(coefficients[:, self._order])
        self._error_variances = torch.ones(len(self._order))

    def _start(self, coefficients: Tensor) -> dict[str, Tensor]:
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
        return torch.randn(*shape, generator=self._random)

    def run(self, remaining_s: Callable[[], float], progress: Callable[[float, str], None]) -> None:
        """Take TRAINING_STEPS steps of Adam, fewer if time is up."""
        weights = list(self._weights.values())
        optimizer = torch.optim.Adam(weights)
        for step in range(TRAINING_STEPS):
            if remaining_s() <= 0:
                break
            errors, divergence = self._pass(self._coefficients(self._batch()))
            # Up to a constant, the negative evidence lower bound of a picture, in nats.
            loss = (
                (errors.square() / self._error_variances).sum(1).mean() + self._error_variances.log().sum()
            ) / 2 + divergence
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / TRAINING_STEPS)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self._error_variances.lerp_(errors.detach().square().mean(0), 0.02)
            if step % 50 == 0:
                progress(step / TRAINING_STEPS, f"training the generator: {loss.item():.1f} nats a picture")

    def _pass(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of the decoded coefficients, and the mean KL divergence of the latents from N(0, 1)."""
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
        """Return random pictures, each mirrored with probability 1/2, all shifted by one random offset.

        Border values are repeated.
        """
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
        """Return the generator, the indices of its coefficients, and its error variance in each coefficient.

        The variances are those on held-out pictures.
        """
        import numpy as np

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
            "variances": variances.clamp(min=MIN_VARIANCE).numpy(),
        }
