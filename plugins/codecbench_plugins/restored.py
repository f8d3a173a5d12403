"""`restored`: AVIF, WebP or JPEG, with a network on the edge that is trained as `deepcod-rd`'s decoder is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import Edge, PictureCodec, Points, edge_fault
from codecbench.toolbox.coding import read_pair, write_pair
from codecbench.toolbox.transforms import Tiling
from codecbench_plugins.avif import Avif
from codecbench_plugins.jpeg_huffman import JpegHuffman
from codecbench_plugins.webp import WebP

if TYPE_CHECKING:
    from torch import Tensor

    from codecbench.toolbox.learning import Geometry, SynthesisNetwork, TailCopy, TaskObjective

FORMATS: Mapping[str, tuple[type[PictureCodec], Mapping[str, Any]]] = {
    "avif": (Avif, {}),
    "jpeg": (JpegHuffman, {"tables": "shared"}),
    "webp": (WebP, {}),
}
"""The codec of each picture format, and its arguments beside the quality."""

WIDTH, DEPTH, SAMPLES = 32, 2, 1_200_000
"""The size of the residual network and the training samples of a fit from scratch: those of `deepcod-rd` at an image.

They are not imported, so that a change of that codec does not make records of this one outdated.
"""

LIMITS = (0.0, 1.0)
"""The range of pixels."""

RATE = 3e-4
"""A third of `deepcod-rd`'s rate, at which the copy of the tail forgets more than it learns: pictures are nearly right
from the start."""

PATIENCE = 20
"""Validations without improvement that end the training: as many as there are, since good weights come late, when the
rate has fallen."""

MATRIX_RATE = 0.1
"""The learning rate of the map of each block to itself, as a share of the other weights': it starts without error."""


class Restored(Codec):
    """A picture format on the device; on the edge, a network that restores the picture for the tail.

    This says how much of `deepcod-rd`'s gain is due to its decoder. Its device code is that of `avif`, `webp` or
    `jpeg-huffman` (with shared tables), and payloads are theirs byte for byte. The network is that of `deepcod-rd`, of
    the same size, trained with as many samples: it gets the decoded picture in place of a transform's result, starts by
    changing nothing, and holds a copy of the tail that is trained as well
    (`codecbench.toolbox.learning.SynthesisNetwork`). Its loss is that of the task alone, as the rate is fixed. Decoding
    ends with the same step of the tensor, for two looks at the image (`TailCopy.steered`), unless `edge="plain"`.

    `picture` is the format, `quality` its quality.
    """

    name = "restored"
    tags = frozenset({"learned"})
    checkpoints = "codecbench_plugins:checkpoints/restored"
    long_fit = True
    fit_samples = None
    needs_differentiable_tail = True
    rows_by = ("picture", "edge")
    implied: ClassVar[Mapping[str, Any]] = {"edge": "steered"}
    unfitted = frozenset({"edge"})

    picture: str
    quality: int
    edge: Edge

    points = tuple(
        {"picture": picture, "quality": quality}
        for picture, qualities in (("avif", (60, 70)), ("jpeg", (80, 85)), ("webp", (80, 85)))
        for quality in qualities
    )
    _from_scratch: ClassVar[Mapping[str, int]] = {"avif": 60, "jpeg": 85, "webp": 80}

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._codec = _picture_codec(spec, self.picture, self.quality)
        self._states: dict[Side, bytes] = {}
        self._decoder: SynthesisNetwork | None = None

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """Return the finer point of each format, which loses about a point of top-1 on a ResNet-20."""
        return cls.points[1::2]

    @classmethod
    def further_points_for(cls, spec: TensorSpec) -> Points:
        """Return the same points for a plain edge."""
        return tuple({**point, "edge": "plain"} for point in cls.points_for(spec))

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run: a format that is missing."""
        return Avif.unavailable()

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: no image, a bad `picture` or `edge`, or a reason of the format's codec."""
        if not spec.image:
            return f"needs an image, whose pictures it restores; got {spec.shape}"
        picture = point.get("picture", "avif")
        if picture not in FORMATS:
            return f"picture is one of {', '.join(FORMATS)}, not {picture!r}"
        codec, own = FORMATS[picture]
        return edge_fault(point) or codec.skip_reason(spec, **own, quality=point.get("quality", 60))

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return None for the one quality of a format that is fitted from scratch, and that point for the others."""
        quality = cls._from_scratch[point["picture"]]
        return None if point["quality"] == quality else {"picture": point["picture"], "quality": quality}

    # --- fit ----------------------------------------------------------------------------------------------------

    def fit(self, data: FitData) -> None:
        """Train the network on pictures that the format's codec encodes and decodes on the way.

        From the state of the point that is fitted from scratch, a third of the training suffices.
        """
        from codecbench.toolbox.learning import Schedule, TailCopy, as_tensors, train

        if type(self._codec).needs_fit(self.spec, **self._codec.point):
            self._codec.fit(replace(data, start=None, saved=None))  # those are this codec's
        tail = TailCopy.of(data.tail, next(as_tensors(data.held_out(2) if data.held_out_count else data.batches(2))))
        objective = _objective(data, self._codec, _decoder(self.spec, tail))
        samples, rate = SAMPLES, RATE
        if data.start is not None:
            self._load(objective.decoder, read_pair(data.start[1])[1])
            objective.share_alone, samples, rate = 0.0, samples // 3, rate / 2
        train(objective, data, Schedule(samples, rate=rate, patience=PATIENCE))
        self._keep(objective.decoder.cpu())
        data.progress(1.0, "fitted")

    def _keep(self, decoder: SynthesisNetwork) -> None:
        from codecbench.toolbox.learning import State, halved

        tail = decoder.tail
        network = State({"tail": tail.to_json() if tail else None}, halved(decoder)).to_bytes()
        states = {side: self._codec.export(side) for side in ("device", "edge")}
        self.restore("device", states["device"])
        self.restore("edge", write_pair(states["edge"], network))

    def export(self, side: Side) -> bytes:
        """Return the state of the format's codec; for the edge, followed by the network. Empty before a fit."""
        return self._states.get(side, b"")

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError if it is invalid."""
        own = state
        if side == "edge":
            own, network = read_pair(state)
            self._decoder = self._load(None, network)
        self._codec.restore(side, own)
        self._states[side] = state

    def _load(self, decoder: SynthesisNetwork | None, network: bytes) -> SynthesisNetwork:
        """Load a network's weights into a decoder, by default into a new one, and return it."""
        from codecbench.toolbox.learning import State, TailCopy, load_halved

        found = State.from_bytes(network)
        try:
            steps = found.about["tail"]
            decoder = decoder or _decoder(self.spec, TailCopy.empty(steps) if steps else None)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of {self.name}: {error!r}") from error
        load_halved(decoder, found.tensors)
        return decoder

    # --- use ----------------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> bytes:
        """Return the payload of the format's codec."""
        return self._codec.encode(x)

    def decode(self, payload: bytes) -> Tensor:
        """Return the restored image. Raises PayloadError for a payload that the format's codec refuses."""
        import torch

        if self._decoder is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it decodes")
        geometry = _geometry(self.spec)
        grid = _grid(self._codec.decode(payload)[None], geometry)
        with torch.no_grad():
            if self.edge == "plain":
                restored = self._decoder(grid, geometry)[0].clamp(*LIMITS)
            else:
                restored = self._decoder.steered(grid, geometry, LIMITS, mirrored=True)
        image: Tensor = restored[0].contiguous()
        return image


def _picture_codec(spec: TensorSpec, picture: str, quality: int) -> PictureCodec:
    codec, own = FORMATS[picture]
    return codec(spec, **own, quality=quality)


def _geometry(spec: TensorSpec) -> Geometry:
    from codecbench.toolbox.learning import geometry_of

    return geometry_of(Tiling.of(spec), spec.max_shape)


def _grid(images: Tensor, geometry: Geometry) -> Tensor:
    """Return images (n, channels, height, width) as a grid of their blocks."""
    return geometry.to_grid(geometry.blocks(geometry.planes(images)))


def _decoder(spec: TensorSpec, tail: TailCopy | None) -> SynthesisNetwork:
    """Return a network that changes nothing: it maps each block to itself, and its residual network gives zero."""
    import torch

    from codecbench.toolbox.learning import SynthesisNetwork

    geometry = _geometry(spec)
    return SynthesisNetwork(geometry, torch.eye(geometry.values), torch.zeros(geometry.values), WIDTH, DEPTH, tail)


def _objective(data: FitData, codec: PictureCodec, decoder: SynthesisNetwork) -> TaskObjective:
    import torch
    from torch import nn

    from codecbench.toolbox.learning import TaskObjective, Teacher, ValidationResult

    geometry = _geometry(data.spec)

    class Restoring(TaskObjective):
        """The task's loss of images that were encoded and decoded as pictures."""

        starts_usable = True

        def parameter_groups(self) -> list[dict[str, Any]]:
            """Return the groups of `TaskObjective`, and one of the map of each block to itself."""
            blocks = [decoder.matrix, decoder.mean]
            groups = super().parameter_groups()
            groups[0]["params"] = [p for p in groups[0]["params"] if all(p is not other for other in blocks)]
            return [*groups, {"params": blocks, "rate_factor": MATRIX_RATE}]

        def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            """Return the task's loss of a batch."""
            return self.task_loss(self._pictures(xs), geometry, xs)

        def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
            """Return the loss on held-out samples."""
            found = self.held_out_means(batches, lambda xs: (self._pictures(xs), geometry, 0.0))
            return ValidationResult.of(found.task_loss, {"loss": found.task_loss, "same class %": found.agreed_percent})

        def _pictures(self, xs: Tensor) -> Tensor:
            """Return the grid of what the codec makes of images."""
            pictures = [codec.decode(codec.encode(x)) for x in xs.cpu().contiguous()]
            return _grid(torch.stack(pictures).to(xs.device), geometry)

    return Restoring(data, nn.ModuleDict({"decoder": decoder}), Teacher(data.tail), LIMITS)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Restored]
