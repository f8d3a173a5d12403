"""A plugin file of codecs whose fits depend on other fits, on earlier ones, or on how much there is to learn from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.errors import UnsuitedModelError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Learning(Codec):
    """What they share: float32 values, and a state that tells what `fit` was given."""

    told: Mapping[str, Any]

    def fit(self, data: FitData) -> None:
        first, _ = next(iter(data.batches(8)))
        self.told = {
            "count": data.count + data.held_out_count,
            "start": None if data.start is None else [part.decode() for part in data.start],
            "saved": None if data.saved is None else data.saved.decode(),
            "first": float(first[0].sum()),
        }

    def export(self, side: Side) -> bytes:
        return json.dumps(self.told).encode() if side == "edge" else json.dumps(self.point).encode()

    def restore(self, side: Side, state: bytes) -> None:
        json.loads(state)

    def encode(self, x: Tensor) -> bytes:
        return x.numpy().tobytes()

    def decode(self, payload: bytes) -> Tensor:
        return self.spec.from_buffer(payload)


class Chained(Learning):
    """Each point starts from the next finer one; the finest from none."""

    name = "chained"
    points = ({"width": 1}, {"width": 2}, {"width": 4})

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        return {"width": 2 * point["width"]} if point["width"] < 4 else None


class Leaning(Learning):
    """Its edge needs the number of the tail's parameters, which a kept state lacks."""

    name = "leaning"
    points = ({"width": 1},)

    def compact(self) -> bytes:
        return super().export("edge")

    def complete(self, state: bytes, tail: nn.Module) -> bytes:
        return json.dumps({**json.loads(state), "tail": sum(p.numel() for p in tail.parameters())}).encode()

    def restore(self, side: Side, state: bytes) -> None:
        if side == "edge" and "tail" not in json.loads(state):
            raise ValueError("the tail is missing")


class Toppling(Leaning):
    """It cannot complete a state."""

    name = "toppling"

    def complete(self, state: bytes, tail: nn.Module) -> bytes:
        raise ValueError("nothing to lean on")


class Circular(Learning):
    """Each point starts from the other."""

    name = "circular"
    points = ({"width": 1}, {"width": 2})

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        return {"width": 3 - point["width"]}


class Lost(Learning):
    """Starts from what it does not have."""

    name = "lost"

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        return {"depth": 1}


class DiesOnce(Learning):
    """Its process dies behind a save, unless it goes on from one."""

    name = "dies-once"

    def fit(self, data: FitData) -> None:
        super().fit(data)
        data.save(b"a quarter")
        data.save(b"half")
        if data.saved is None:
            os._exit(1)


class SavesText(Learning):
    """Saves no bytes."""

    name = "saves-text"

    def fit(self, data: FitData) -> None:
        data.save("half")  # type: ignore[arg-type]


class Greedy(Learning):
    """Learns from all that there is."""

    name = "greedy"
    fit_samples = None


class Frugal(Learning):
    """Learns from ten samples."""

    name = "frugal"
    fit_samples = 10


class Choosy(Learning):
    """Is made for other models."""

    name = "choosy"
    points = ({"width": 1}, {"width": 2})

    def fit(self, data: FitData) -> None:
        if self.point["width"] == 2:
            raise UnsuitedModelError("needs a wider model")
        super().fit(data)


class Patient(Learning):
    """Its fit takes long, by its own account."""

    name = "patient"
    points = ({"width": 1}, {"width": 2}, {"width": 3}, {"width": 4})
    long_fit = True


class Passes(Learning):
    """Holds each pass against the batches of a single sample: the same samples, with the same targets, in a copy."""

    name = "passes"

    def fit(self, data: FitData) -> None:
        import torch

        super().fit(data)
        seen = {}
        for xs, targets in data.held_out(1):
            seen[targets[0], float(xs[0].sum())] = xs[0].clone()
            xs[0].zero_()
        again = [(t, float(x.sum()), x) for xs, targets in data.held_out(3) for x, t in zip(xs, targets, strict=True)]
        assert len(again) == data.held_out_count
        assert all(torch.equal(seen[target, total], x) for target, total, x in again)
        assert np.isclose(sum(total for _, total, _ in again), sum(total for _, total in seen))


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register all of them."""
    shared = (Codec, Learning)
    return [c for c in globals().values() if isinstance(c, type) and issubclass(c, Codec) and c not in shared]
