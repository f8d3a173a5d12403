"""Base of picture codecs with several ways to code a coloured picture, chosen for each quality on training images.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from codecbench.codec import FitData, Side, TensorSpec
from codecbench.toolbox.codecs.picture import PictureCodec, PlainPictureCodec, is_coloured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRIAL_IMAGES = 32
"""The most images that a fit compresses with each mode and quality."""

MARGIN = 0.003
"""A mode is left for another one that takes fewer bytes by over this share."""

MIN_ERROR = 1e-3
"""Squared errors below this number, of 8-bit values, count as this number."""


class ModesByQuality:
    """The number of the mode for each quality, in runs: (last quality, mode), with rising qualities."""

    def __init__(self, runs: Sequence[tuple[int, int]]) -> None:
        self.runs = tuple(runs)

    def mode(self, quality: int) -> int:
        """Return the mode of a quality; above the last run, that of the last run."""
        return next((mode for last, mode in self.runs if quality <= last), self.runs[-1][1])

    def to_bytes(self) -> bytes:
        """Return the runs, two bytes each."""
        return bytes(number for run in self.runs for number in run)

    @classmethod
    def from_bytes(cls, state: bytes, modes: int) -> Self:
        """Return the table that `to_bytes` wrote. Raises ValueError for an invalid one, or one of over `modes`."""
        runs = list(zip(state[::2], state[1::2], strict=False))
        lasts = [last for last, _ in runs]
        if not runs or len(state) % 2 or lasts != sorted(set(lasts)) or any(mode >= modes for _, mode in runs):
            raise ValueError("this is no table of modes by quality")
        return cls(runs)

    @classmethod
    def fitted(cls, trials: Sequence[Sequence[tuple[float, float]]], tried: Sequence[int], end: int) -> Self:
        """Return the table for qualities from 0 to `end` that takes the fewest bytes for each squared error.

        `trials` has for each mode its (payload bytes, squared error) at the qualities `tried`. Between these, both are
        interpolated on a logarithmic scale. A mode is compared with the others at its own error, so a mode whose
        errors differ at the same quality is judged by what it would take to reach them. A mode that cannot reach an
        error is no rival there.
        """
        import numpy as np

        logs = np.log(np.maximum(np.array(trials, np.float64), MIN_ERROR))
        qualities = np.arange(end + 1)
        sizes, errors = (np.stack([np.interp(qualities, tried, mode[:, at]) for mode in logs]) for at in (0, 1))
        excess = np.zeros_like(sizes)
        for mode, other in np.ndindex(len(logs), len(logs)):
            backwards = logs[other][np.argsort(logs[other][:, 1], kind="stable")]
            rival = np.interp(errors[mode], backwards[:, 1], backwards[:, 0], left=np.inf)
            excess[mode] = np.maximum(excess[mode], sizes[mode] - rival)
        runs: list[tuple[int, int]] = []
        for quality in qualities.tolist():
            best = int(excess[:, quality].argmin())
            if runs and excess[runs[-1][1], quality] <= excess[best, quality] + MARGIN:
                best = runs[-1][1]
            if runs and runs[-1][1] == best:
                runs.pop()
            runs.append((quality, best))
        return cls(runs)


class PlainColourPictureCodec(PlainPictureCodec):
    """`ColourPictureCodec` without its steered points."""

    trial_qualities: ClassVar[tuple[int, ...]]
    """The qualities that a fit tries, rising, from the lowest of the rate knob to the highest."""
    trial_pixels: ClassVar[int] = 1 << 19
    """About the most pixels that a fit compresses with each mode and quality."""

    quality: int

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._modes = ModesByQuality(self.unfitted_modes())

    @abstractmethod
    def mode_count(self) -> int:
        """Return the number of modes of this point."""

    @abstractmethod
    def unfitted_modes(self) -> Sequence[tuple[int, int]]:
        """Return (last quality, mode) in runs: the modes that an instance uses that was never fitted."""

    @property
    def mode(self) -> int:
        """The number of the mode in which coloured pictures are coded."""
        return self._modes.mode(self.quality)

    def use_modes(self, modes: ModesByQuality) -> None:
        """Code coloured pictures by this table from now on."""
        self._modes = modes
        self._headers.clear()

    def fit(self, data: FitData) -> None:
        """Try every mode on training images. If time runs out before all are tried, the table stays as it was."""
        pictures = self._training_pictures(data)
        trials: list[list[tuple[float, float]]] = []
        for mode in range(self.mode_count()):
            trials.append([])
            for quality in self.trial_qualities:
                if not data.remaining_s():
                    return
                trials[-1].append(self._tried(pictures, mode, quality))
            data.progress((mode + 1) / self.mode_count(), "modes tried")
        self.use_modes(ModesByQuality.fitted(trials, self.trial_qualities, self.trial_qualities[-1]))

    def export(self, side: Side) -> bytes:
        """Return the table of modes, if pictures are coloured: each side makes the header itself, for its quality."""
        return self.shared_state() if self.coloured else super().export(side)

    def shared_state(self) -> bytes:
        """Return the table of modes, if pictures are coloured."""
        return self._modes.to_bytes() if self.coloured else b""

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError for an invalid table."""
        if self.coloured:
            self.use_modes(ModesByQuality.from_bytes(state, self.mode_count()))
        else:
            super().restore(side, state)

    def _training_pictures(self, data: FitData) -> list[NDArray[np.uint8]]:
        batch, _ = next(data.batches(TRIAL_IMAGES))
        limit = max(1, self.trial_pixels // math.prod(self.spec.max_shape[1:]))
        return [self.picture(x.numpy()) for x in batch[:limit]]

    def _tried(self, pictures: Sequence[NDArray[np.uint8]], mode: int, quality: int) -> tuple[float, float]:
        """Return the payload bytes of pictures in a mode, at a quality, and their mean squared error."""
        import numpy as np

        trial = type(self)(self.spec, **{**self.point, "quality": quality})
        trial.use_modes(ModesByQuality([(quality, mode)]))
        total_bytes, error = 0, 0.0
        for picture in pictures:
            stream = trial.compress(picture)
            restored = trial.decompress(stream, (picture.shape[0], picture.shape[1]))
            total_bytes += len(stream)
            error += float(np.square(restored.astype(np.float64) - picture).mean())
        return float(total_bytes), error / len(pictures)


class ColourPictureCodec(PictureCodec, PlainColourPictureCodec):
    """Base of `PictureCodec`s with a quality and several modes for coloured pictures, chroma subsampling for example.

    A fit tries all modes at a few qualities on at most 32 training images, and finds for every quality the mode that
    takes the fewest bytes for the squared error (`ModesByQuality`). This table is the state of both sides, the same for
    all qualities. Pictures of other tensors have no modes, and need no fit.

    Where a workload has no training samples, the codec runs with the table of `unfitted_modes`.
    """

    fit_samples = 40  # 32, and those that are held out

    @classmethod
    def works_unfitted(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True for a plain point."""
        return "edge" not in cls.without_implied(point)

    @classmethod
    def _is_fitted(cls, spec: TensorSpec) -> bool:
        return is_coloured(spec)
