"""The case of a check: a codec at one point, for one tensor spec."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.isolation.audit import sealed
from codecbench.kit.samples import fit_data, samples, spec_label
from codecbench.measure import warm_optimizers
from codecbench.results.cell import point_label
from codecbench.results.repeats import difference

if TYPE_CHECKING:
    from torch import Tensor, nn

_states: weakref.WeakKeyDictionary[type[Codec], dict[tuple[TensorSpec, str], dict[Side, bytes]]] = (
    weakref.WeakKeyDictionary()
)


class KitCase:
    """One codec at one spec and point. Fitted states, payloads and decoded tensors are made once, at first use."""

    def __init__(self, codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> None:
        self.codec = codec
        self.spec = spec
        self.point = point

    @property
    def label(self) -> str:
        """The case in a test id, such as `zlib[level=3]-(4, 8, 8)`."""
        point = point_label(self.point)
        return f"{self.codec.name}{f'[{point}]' if point else ''}-{spec_label(self.spec)}"

    def make(self) -> Codec:
        """Return a new instance that is not restored."""
        return self.codec(self.spec, **self.point)

    def side(self, side: Side) -> Codec:
        """Return a new instance, restored from this side's state."""
        codec = self.make()
        codec.restore(side, self.states[side])
        return codec

    @cached_property
    def states(self) -> dict[Side, bytes]:
        """The state of each side, fitted on synthetic data if the point needs a fit.

        Fitted once in a process, even if several kits have the case.
        """
        kept = _states.setdefault(self.codec, {})
        key = (self.spec, point_label(self.point))
        if key not in kept:
            kept[key] = self.fit()
        return kept[key]

    def fit(self, max_s: float = 5.0) -> dict[Side, bytes]:
        """Fit a new instance, if the point needs a fit, and return both sides' states."""
        with _seeded():
            codec, _ = self.fitted(max_s)
            return {"device": codec.export("device"), "edge": codec.export("edge")}

    def fitted(self, max_s: float) -> tuple[Codec, nn.Module | None]:
        """Return a new instance, fitted if the point needs a fit, and the tail that the fit was given."""
        with _seeded():
            codec = self.make()
            if not self.needs_fit:
                return codec, None
            warm_optimizers()  # not part of the fit's time
            data = fit_data(self.spec, max_s=max_s)
            with sealed():
                codec.fit(data)
            return codec, data.tail

    @property
    def needs_fit(self) -> bool:
        """True if this point needs a fit."""
        return self.codec.needs_fit(self.spec, **self.point)

    @property
    def samples(self) -> list[Tensor]:
        """Ordinary samples. New tensors at each access, so that a check cannot change those of another."""
        return samples(self.spec)

    @cached_property
    def payloads(self) -> list[bytes]:
        """The samples' payloads, encoded one by one by one new instance."""
        device = self.side("device")
        return [device.encode(x) for x in self.samples]

    @cached_property
    def decoded(self) -> list[Tensor]:
        """Copies of the payloads' tensors, decoded one by one by one new instance.

        Copies, because a codec may keep and reuse its output. A result that is not a tensor stays as it is;
        `check_decode_gives_tensor` reports it.
        """
        edge = self.side("edge")
        return [_copy(edge.decode(payload)) for payload in self.payloads]

    def close_enough(self, left: Tensor, right: Tensor) -> str | None:
        """Return how two decodes of one payload differ, or None if they are the same but for the order of sums."""
        return difference(left.numpy(), right.numpy(), lossless="lossless" in self.codec.tags)


def _copy(decoded: Any) -> Any:
    """Return a copy of a tensor, or any other object unchanged."""
    import torch

    return decoded.detach().clone() if isinstance(decoded, torch.Tensor) else decoded


def to_tensor(values: Any) -> Tensor:
    """Return a new tensor of an array's values. The array may have any byte order."""
    import torch

    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=True))


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global random generators, as before a real fit, and restore them after the with block."""
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
