"""`cs-generative`: random measurements of an image, reconstructed over the latent of a small trained generator.

Compressed sensing with a generative model: y = E x on the device, and on the edge G(z) for the latent z that minimises
||y - E G(z)||^2 + lambda ||z||^2, by gradient descent from several starts (Bora, Jalal, Price and Dimakis 2017,
"Compressed Sensing using Generative Models", section 2; the term in z is that of their experiments, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.coding import Prior
from codecbench.toolbox.transforms import to_pixels
from codecbench_plugins.cs_generative.measuring import Basis, Measuring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from codecbench_plugins.cs_generative.generator import Reconstruction

MAX_VALUES = 4096
"""The largest image, in values: the edge holds a dense matrix (measurements, values)."""

DECODE_CHUNK, BATCH = 128, 100


class CsGenerative(Codec):
    """Signed, shuffled Hadamard measurements of an image; Adam over the latent of a generator of DCT coefficients.

    The device sends `measurements` products of the image less the mean picture with random vectors of length 1, in
    steps of `step` grey levels, entropy-coded with one trained prior. The generator is a network with a hidden layer
    and a parallel linear path, from a latent to the COEFFICIENTS DCT coefficients of largest variance. It starts as the
    principal components and is trained as the decoder of a variational autoencoder, which also learns the variance of
    its error.

    `variant="faithful"` is the published method: the picture is G(z), and no better than the generator.
    `variant="best"` models the generator's error in each coefficient as independent and normal, with the variance on
    held-out pictures; Sparse-Gen (Dhar, Grover and Ermon 2018, section 3) models a sparse error. ||y - E G(z)||^2 is
    weighted by the inverse covariance of y - E G(z), which includes that error and the quantisation error. The expected
    error, given y - E G(z), is added to G(z).
    """

    name = "cs-generative"
    tags = frozenset({"learned"})
    long_fit = True
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
        """Return points with 1/12 to 2/3 of the values as measurements; more measurements have finer steps."""
        if not spec.image:
            return cls.points
        values = math.prod(spec.max_shape)
        best = ((1 / 12, 24), (1 / 6, 24), (1 / 3, 12), (1 / 2, 8), (2 / 3, 5))
        settings = [("faithful", *setting) for setting in best[:4]] + [("best", *setting) for setting in best]
        rows = {(variant, max(1, round(values * share)), step): None for variant, share, step in settings}
        return tuple(dict(zip(("variant", "measurements", "step"), row, strict=True)) for row in rows)

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return the finest point."""
        return cls.points_for(spec)[-1:]

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: not an image, too large, or an invalid setting."""
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

        from codecbench_plugins.cs_generative.training import Training, all_pictures

        pictures = all_pictures(data.batches(BATCH))
        mean = np.rint((pictures + pictures[..., ::-1].astype(np.float64)).mean(0) / 2)
        centred, held_out = (
            torch.from_numpy(((levels - mean) / 255).astype(np.float32))
            for levels in (pictures, all_pictures(data.held_out(BATCH)))
        )
        training = Training(centred, Basis(self.spec.max_shape), data.seed)
        training.run(data.remaining_s, data.progress)
        self._state = {**training.state(held_out), "mean": mean.astype(np.uint8)}
        symbols = np.concatenate([self._quantised(picture) for picture in pictures])[None]
        prior = Prior.fitted(symbols, margin=int(np.ptp(symbols)) // 4 + 1)
        self._state["prior"] = np.frombuffer(prior.to_bytes(), np.uint8)

    def export(self, side: Side) -> bytes:
        """Return the mean picture and the prior; for the edge also the generator and the variances of its error."""
        from safetensors.numpy import save

        names = ("mean", "prior") if side == "device" else tuple(self._state)
        return save({name: self._state[name] for name in names}) if self._state else b""

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`."""
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

        from codecbench_plugins.cs_generative.generator import Generator, Reconstruction

        arrays = {name: torch.tensor(values, dtype=torch.float64) for name, values in self._state.items()}
        return Reconstruction(
            Generator(**{field.name: arrays[field.name] for field in fields(Generator)}),
            arrays["order"].long(), arrays["variances"], arrays["mean"] / 255, Basis(self.spec.max_shape),
            self._measuring.matrix(), self.step / 255, corrected=self.variant == "best",
        )  # fmt: skip

    def _quantised(self, picture: NDArray[Any]) -> NDArray[np.float64]:
        """Return the flat symbols of a picture of grey levels.

        The sums before rounding are exact, because they are of integers.
        """
        import numpy as np

        sums = self._measuring.sums(picture - self._state["mean"].astype(np.float64))
        return np.rint(sums / (self.step * math.sqrt(picture.size)))

    def _symbols(self, x: Tensor) -> NDArray[np.int32]:
        return self._prior.clip(self._quantised(to_pixels(x.numpy()))[None])

    def encode(self, x: Tensor) -> bytes:
        """Return the measurements' symbols as coded by the prior."""
        return self._prior.encode(self._symbols(x))

    def bound_bytes(self, x: Tensor) -> float:
        """Return the Shannon bound of the symbols under the prior, in bytes."""
        return self._prior.bound_bytes(self._symbols(x))

    def decode(self, payload: bytes) -> Tensor:
        """Return the picture of the latent that fits the measurements best."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return all pictures; the latents of a chunk are searched together, each with the same steps as alone."""
        import numpy as np
        import torch

        pictures: list[Tensor] = []
        for start in range(0, len(payloads), DECODE_CHUNK):
            chunk = payloads[start : start + DECODE_CHUNK]
            symbols = np.stack([self._prior.decode(payload, self.measurements)[0] for payload in chunk])
            measured = torch.from_numpy(symbols.astype(np.float64)) * (self.step / 255)
            pictures += [picture.clone() for picture in self._reconstruction.pictures(measured).float()]
        return pictures


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [CsGenerative]
