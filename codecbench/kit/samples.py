"""The inputs of the conformance kit: specs, seeded samples, extreme values and training data. Downloads nothing.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.codec import Batch, FitData, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

DEFAULT_SPECS: tuple[TensorSpec, ...] = (
    TensorSpec((10,)),
    TensorSpec((12, 40)),
    TensorSpec((4, 8, 8)),
    TensorSpec((3, 32, 32), image=True),
    TensorSpec((None, 6), max_length=20),
    TensorSpec((17, 24)),
)
"""One spec of each kind of tensor at a split: logits, a matrix, a feature map, a picture, a sequence, tokens."""

TOKENS = DEFAULT_SPECS[-1]
"""Tokens by channels, as in a transformer: the samples' channels, along the last axis, have deviations of their own."""

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""Files in scikit-image's wheel."""

FIT_SAMPLES = 48
HELD_OUT_SAMPLES = 16
CLASSES = 4
VIRTUAL_TICK_S = 0.05
"""Seconds by which a fit's virtual clock advances on each batch and each call of `remaining_s`."""


def spec_label(spec: TensorSpec) -> str:
    """Return a spec as in test ids: `(4, 8, 8)`, `(3, 32, 32) image`, `(10,) int8`."""
    return f"{spec.shape}{' image' if spec.image else ''}{'' if spec.dtype == 'float32' else f' {spec.dtype}'}"


def samples(spec: TensorSpec, count: int = 4, seed: int = 0) -> list[Tensor]:
    """Return ordinary samples, the same for the same arguments.

    Photographs for an image spec, else smooth noise, rectified as after a ReLU in every other sample; that of TOKENS
    has small and large channels. If an axis varies, the lengths differ, and the first sample has `max_length`.
    """
    import torch

    return [torch.from_numpy(_sample(spec, index, seed).copy()) for index in range(count)]


def extremes(spec: TensorSpec) -> dict[str, Tensor]:
    """Return samples with extreme values, by name. All values are finite."""
    import numpy as np
    import torch

    usual = _sample(spec, 0, 0)
    lowest, highest = _value_range(spec)

    def constant(value: float) -> NDArray[Any]:
        return np.full(usual.shape, value, usual.dtype)

    def one_value(others: NDArray[Any], value: float) -> NDArray[Any]:
        changed = others.copy()
        changed.reshape(-1)[changed.size // 2 :][:1] = value
        return changed

    made = {
        "zeros": constant(0),
        "all greatest": constant(highest),
        "all least": constant(lowest),
        "one greatest among zeros": one_value(constant(0), highest),
    }
    if spec.image:
        made["grey"] = constant(128 / 255)
    elif spec.dtype.startswith("float"):
        made["one huge value"] = one_value(usual, highest)
        made["a constant"] = constant(3.7)
        made["denormals"] = (usual * float(np.finfo(usual.dtype).tiny) / 8).astype(usual.dtype)
    return {name: torch.from_numpy(values) for name, values in made.items()}


def fit_data(spec: TensorSpec, *, seed: int = 0, max_s: float = 5.0) -> FitData:
    """Return synthetic training data with a frozen linear tail. Its clock is virtual, so a fit repeats exactly.

    `remaining_s` falls by VIRTUAL_TICK_S on each batch and each call, at any speed of the machine.
    """
    xs = samples(spec, FIT_SAMPLES + HELD_OUT_SAMPLES, seed + 1)
    tail = _linear_tail(spec, seed)
    targets = [int(tail(x[None])[0].argmax()) for x in xs]
    clock = _VirtualClock(max_s)
    passes = iter(range(1 << 30))

    def walk(order: Sequence[int], size: int) -> Iterator[Batch]:
        import torch

        for start in range(0, len(order), size):
            clock.tick()
            picked = order[start : start + size]
            batch = [xs[i] for i in picked]
            yield (batch if None in spec.shape else torch.stack(batch)), [targets[i] for i in picked]

    def batches(size: int) -> Iterator[Batch]:
        import numpy as np

        order = np.random.default_rng([seed, next(passes)]).permutation(FIT_SAMPLES)
        return walk([int(i) for i in order], size)

    def held_out(size: int) -> Iterator[Batch]:
        return walk(range(FIT_SAMPLES, FIT_SAMPLES + HELD_OUT_SAMPLES), size)

    return FitData(
        spec=spec, count=FIT_SAMPLES, held_out_count=HELD_OUT_SAMPLES, batches=batches, held_out=held_out, tail=tail,
        torch_device="cpu", seed=seed, max_s=max_s, progress=lambda _fraction, _text: None,
        remaining_s=clock.remaining_s,
    )  # fmt: skip


class _VirtualClock:
    def __init__(self, max_s: float) -> None:
        self._left_s = max_s

    def tick(self) -> None:
        self._left_s = max(0.0, self._left_s - VIRTUAL_TICK_S)

    def remaining_s(self) -> float:
        self.tick()
        return self._left_s


def _linear_tail(spec: TensorSpec, seed: int) -> nn.Module:
    """Return a frozen linear layer from the values, averaged over a None axis, to CLASSES scores.

    It takes a batch or a list of tensors. For float32 values of a fixed shape it is a traced graph, as most tails are.
    """
    import torch
    from torch import nn

    free = [n for n in spec.shape if n is not None]
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(int(torch.tensor(free).prod()) if free else 1, CLASSES, generator=generator)
    varying = spec.shape.index(None) if None in spec.shape else None

    if varying is None and spec.dtype == "float32":
        return _traced_tail(weight)

    class LinearTail(nn.Module):
        def forward(self, xs: Tensor | list[Tensor]) -> Tensor:
            rows = [x.float() if varying is None else x.float().mean(varying) for x in xs]
            return torch.stack([row.reshape(-1) @ weight for row in rows])

    return LinearTail().eval()


def _traced_tail(weight: Tensor) -> nn.Module:
    """Return the graph of a linear layer on the flattened values of a batch."""
    from torch import fx, nn

    values, classes = weight.shape
    layer = nn.Linear(values, classes, bias=False).requires_grad_(False)
    layer.weight.copy_(weight.T)
    return fx.symbolic_trace(nn.Sequential(nn.Flatten(), layer)).eval()


@lru_cache(maxsize=512)
def _sample(spec: TensorSpec, index: int, seed: int) -> NDArray[Any]:
    """Return one sample's values. Cached: the checks of a case use them about thirty times."""
    import numpy as np

    shape = tuple(_length(spec, index) if n is None else n for n in spec.shape)
    if spec.image:
        return _photograph(shape, index + seed)
    rng = np.random.default_rng([seed, index])
    smooth = _smooth(rng.normal(size=shape))
    if index % 2 == 0:
        smooth = np.maximum(smooth, 0)
    if spec == TOKENS:
        smooth *= np.geomspace(0.1, 10.0, shape[-1])
    if spec.dtype.startswith("float"):
        return smooth.astype(spec.dtype)
    lowest, highest = _value_range(spec)
    if lowest == 0:
        smooth = np.abs(smooth)
    return np.clip(np.round(smooth * 20), lowest, highest).astype(spec.dtype)


def _length(spec: TensorSpec, index: int) -> int:
    longest = spec.max_length or 0
    return max(1, (longest, 1, longest // 2, longest * 3 // 4)[index % 4])


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values averaged with their neighbours along the last two axes: neighbouring features are correlated."""
    import numpy as np

    for axis in range(max(0, values.ndim - 2), values.ndim):
        values = (values + np.roll(values, 1, axis)) / np.sqrt(2)
    return values


def _value_range(spec: TensorSpec) -> tuple[float, float]:
    """Return the lowest and highest value of extreme samples. Floats stay far enough below overflow to be summed."""
    import numpy as np

    if spec.image:
        return 0.0, 1.0
    if spec.dtype.startswith("float"):
        highest = {"float16": 3e4, "float32": 1e30, "float64": 1e200}[spec.dtype]
        return -highest, highest
    limits = np.iinfo(spec.dtype)
    return int(limits.min), int(limits.max)


def _photograph(shape: tuple[int, ...], index: int) -> NDArray[np.float32]:
    """Return a photograph scaled to (channels, height, width), with values k/255."""
    import numpy as np

    channels, height, width = shape
    pixels = _scaled_photograph(PHOTOGRAPHS[index % len(PHOTOGRAPHS)], height, width, index // len(PHOTOGRAPHS))
    planes = pixels.transpose(2, 0, 1) if channels == 3 else pixels.mean(axis=2, dtype=np.float32).round()[None]
    planes = np.broadcast_to(planes, (channels, height, width))
    return np.ascontiguousarray(planes.astype(np.float32) / np.float32(255))


@lru_cache(maxsize=256)
def _scaled_photograph(name: str, height: int, width: int, crop: int) -> NDArray[np.uint8]:
    """Return a scaled crop of a photograph; each `crop` number cuts other parts off at the left and the top."""
    import numpy as np
    import skimage.data
    from PIL import Image

    with Image.open(Path(skimage.data.__file__).parent / name) as picture:
        left, upper = picture.width * (crop % 6) // 8, picture.height * (crop % 5) // 8
        part = picture.convert("RGB").crop((left, upper, picture.width, picture.height))
        return np.asarray(part.resize((width, height), Image.Resampling.BOX))
