"""A codec at one point on one tensor, as the kit's checks see it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.kit.samples import fit_data, samples, spec_label
from codecbench.measure import warm_optimizers
from codecbench.results.cell import point_label
from codecbench.workers.guard import sealed

if TYPE_CHECKING:
    from torch import Tensor

DECODE_TOLERANCE = 1e-5
"""How far two decodes of one payload may differ, as a share of the greatest value: convolutions in a batch or alone,
here or on another machine, sum in another order. Integers, and whatever a lossless codec decodes, must be equal."""


_states: weakref.WeakKeyDictionary[type[Codec], dict[tuple[TensorSpec, str], dict[Side, bytes]]] = (
    weakref.WeakKeyDictionary()
)


class Case:
    """One codec at one spec and point, with its fitted states, samples and payloads, each made once when needed."""

    def __init__(self, codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> None:
        self.codec = codec
        self.spec = spec
        self.point = point

    @property
    def label(self) -> str:
        """`zlib[level=3]-(4, 8, 8)`."""
        point = point_label(self.point)
        return f"{self.codec.name}{f'[{point}]' if point else ''}-{spec_label(self.spec)}"

    def make(self) -> Codec:
        """A fresh instance, not restored."""
        return self.codec(self.spec, **self.point)

    def side(self, side: Side) -> Codec:
        """A fresh instance, restored from this side's state."""
        codec = self.make()
        codec.restore(side, self.states[side])
        return codec

    @cached_property
    def states(self) -> dict[Side, bytes]:
        """The state of each side before the first request; fitted on synthetic data where the point needs it.

        Fitted once a process, whatever number of kits take the case.
        """
        kept = _states.setdefault(self.codec, {})
        key = (self.spec, point_label(self.point))
        if key not in kept:
            kept[key] = self.fit()
        return kept[key]

    def fit(self, max_s: float = 5.0) -> dict[Side, bytes]:
        """Both sides' states after a fresh fit, or of a fresh instance where there is nothing to fit."""
        with _seeded():
            codec = self.make()
            if self.needs_fit:
                # Before the time of the fit begins.
                warm_optimizers()
                data = fit_data(self.spec, max_s=max_s)
                with sealed():
                    codec.fit(data)
            return {"device": codec.export("device"), "edge": codec.export("edge")}

    @property
    def needs_fit(self) -> bool:
        """True where this point is fitted."""
        return self.codec.needs_fit(self.spec, **self.point)

    @property
    def samples(self) -> list[Tensor]:
        """Ordinary samples; new tensors each time, so that no check spoils another's."""
        return samples(self.spec)

    @cached_property
    def payloads(self) -> list[bytes]:
        """The samples' payloads, encoded one by one by one fresh instance."""
        device = self.side("device")
        return [device.encode(x) for x in self.samples]

    @cached_property
    def decoded(self) -> list[Tensor]:
        """The decoded payloads, one by one, by one fresh instance. Copies: a codec may hold on to its own.

        `check_decode_gives_tensor` says whether they are tensors at all.
        """
        edge = self.side("edge")
        return [_copy(edge.decode(payload)) for payload in self.payloads]

    def close_enough(self, left: Tensor, right: Tensor) -> str | None:
        """The difference between two decodes of one payload; None where they agree within DECODE_TOLERANCE."""
        import torch

        if left.shape != right.shape or left.dtype != right.dtype:
            return f"{left.dtype} {tuple(left.shape)} against {right.dtype} {tuple(right.shape)}"
        if torch.equal(left, right):
            return None
        gap = float((left.double() - right.double()).abs().max())
        scale = max(1.0, float(right.double().abs().max()))
        if "lossless" not in self.codec.tags and left.is_floating_point() and gap <= DECODE_TOLERANCE * scale:
            return None
        return f"values differ by up to {gap:.3g}"


def _copy(decoded: Any) -> Any:
    """A copy of a tensor; anything else as it is."""
    import torch

    return decoded.detach().clone() if isinstance(decoded, torch.Tensor) else decoded


def to_tensor(values: Any) -> Tensor:
    """A new tensor of an array's values, whatever the array's byte order."""
    import torch

    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=True))


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The global generators at a fixed seed, as before a real fit, and put back afterwards."""
    import numpy as np
    import torch

    # A codec may draw from the global generators.
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
