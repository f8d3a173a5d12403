"""`Steerable`: the argument `edge` of codecs, whose decoders may ask a copy of the tail (`edge="steered"`).

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench.codec import Codec, FitData, Side, TensorSpec
from codecbench.toolbox.codecs.points import Points
from codecbench.toolbox.coding.headers import read_pair, write_pair

if TYPE_CHECKING:
    from torch import Tensor

    from codecbench.toolbox.learning.steering import Steering

Edge: TypeAlias = Literal["plain", "steered"]
"""The values of the argument `edge`."""

MARK = b"steered\n"
"""The first bytes of the edge's state of a steered point."""


def edge_fault(point: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a point's value of `edge`, or None."""
    edge = point.get("edge", "plain")
    return None if edge in ("plain", "steered") else f"edge is 'plain' or 'steered', not {edge!r}"


class Steerable(Codec):
    """A codec that can decode images in two ways, by its argument `edge`. The payloads are the same.

    "plain" decodes as the codec does, and points leave it out. "steered" needs an image: the edge keeps a copy of the
    tail, asks it for scores of the decoded image and of its mirror image, and moves the image by one step towards their
    mean (`codecbench.toolbox.learning.steering`). Nothing is trained; a fit copies the tail. If the codec is fitted as
    well, that fit starts from the state of the plain point.

    A subclass gives the codec itself as its next base: `class WebP(Steerable, PlainWebP)`.
    """

    implied: ClassVar[Mapping[str, Any]] = {"edge": "plain"}
    rows_by: ClassVar[tuple[str, ...]] = ("edge",)

    edge: Edge

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._steering: Steering | None = None

    @classmethod
    def further_points_for(cls, spec: TensorSpec) -> Points:
        """Return the codec's points for an image, steered, as far as `is_steered_too`; none for another tensor."""
        points = cls.points_for(spec) if spec.image else ()
        return tuple({**point, "edge": "steered"} for point in points if cls.is_steered_too(point))

    @classmethod
    def is_steered_too(cls, point: Mapping[str, Any]) -> bool:
        """Return True if the full preset runs this plain point steered as well. Default: True."""
        return True

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a bad `edge`, a steered point without an image, or the codec's reason."""
        fault = edge_fault(point)
        if fault is None and point.get("edge") == "steered" and not spec.image:
            fault = f"edge='steered' needs an image, which has a mirror image to look at; got {spec.shape}"
        return fault or super().skip_reason(spec, **point)

    @classmethod
    def needs_fit(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True for a steered point, and for every point if the codec itself is fitted."""
        return point.get("edge") == "steered" or cls._is_fitted()

    @classmethod
    def needs_gradients(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True for a steered point, whose decoder takes gradients through its copy, or as the codec says."""
        return point.get("edge") == "steered" or super().needs_gradients(spec, **point)

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return the plain point for a steered one, if the codec itself is fitted."""
        if point.get("edge") != "steered" or not cls._is_fitted():
            return super().starts_from(spec, **point)
        return {key: value for key, value in point.items() if key != "edge"}

    @classmethod
    def _is_fitted(cls) -> bool:
        """True if the codec itself has a fit."""
        return super().fit is not Codec.fit

    def fit(self, data: FitData) -> None:
        """Fit the codec itself, or take the state that `data` starts from; for a steered point, copy the tail."""
        if self.edge == "steered":
            from codecbench.toolbox.learning.steering import Steering

            self._steering = Steering.of(data)  # first, since it may refuse
        if not self._is_fitted():
            return
        if data.start is None:
            super().fit(data)
            return
        device, edge = data.start
        super().restore("device", device)
        super().restore("edge", read_pair(edge, len(MARK))[0] if edge.startswith(MARK) else edge)

    def export(self, side: Side) -> bytes:
        """Return the codec's own state; for the edge of a steered point, followed by the copy of the tail."""
        return self._with_copy(super().export(side), side)

    def _with_copy(self, state: bytes, side: Side) -> bytes:
        """Return the codec's own state of this side, followed by the copy of the tail if the side keeps one."""
        if side == "device" or self._steering is None:
            return state
        return MARK + write_pair(state, self._steering.to_bytes())

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError if a steered point's has no copy of the tail."""
        if side == "edge" and self.edge == "steered":
            from codecbench.toolbox.learning.steering import Steering

            if not state.startswith(MARK):
                raise ValueError(f"{self.name} with edge='steered' needs a state with a copy of the tail")
            state, copied = read_pair(state, len(MARK))
            self._steering = Steering.from_bytes(copied)
        super().restore(side, state)

    def decode(self, payload: bytes) -> Tensor:
        """Return what the codec decodes; at a steered point, moved by the step."""
        if self.edge == "steered" and self._steering is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it decodes")
        decoded = super().decode(payload)  # type: ignore[safe-super]
        return decoded if self._steering is None else self._steering.image(decoded)
