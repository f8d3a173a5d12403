"""The random layers on which a device is measured, of the kinds and shapes of common models."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from codecbench.devices.layers import Layer, layer_of
from codecbench.measure import count_flop

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

BLOCK = 48
"""The number of layers of a block."""

MAX_FLOP = 1_000_000_000
MAX_ELEMENTS = 1 << 22
"""Limits of a random layer: its FLOPs, and the number of values of each of its tensors."""

SIDES = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224)
CHANNELS = (3, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 576, 768, 960, 1024, 1280, 2048)

KINDS = {
    "conv": 44, "depthwise": 12, "linear": 12, "batch_norm": 8, "relu": 6, "add": 6, "max_pool": 3, "avg_pool": 2,
    "mean": 3, "activation": 4, "softmax": 2, "norm": 3, "copy": 3, "matmul": 3, "attention": 2, "lstm": 4, "gru": 4,
    "conv1d": 5, "view": 2, "conv_transpose": 2, "embedding": 1,
}  # fmt: skip
"""The relative frequency of each kind."""


SPARE_ELEMENTS = 64
"""Extra values of a freed block of memory, so that the allocator uses it for an aligned tensor."""


class LayerCase:
    """A call to be timed: a module or function on inputs of these shapes, and further arguments.

    Caches should be as in a model. There, inputs and outputs use the same few buffers, which are cached, but the
    parameters of a layer were last used in the request before and are not. So inputs are written just before a call
    and freed after it, and the memory of the future output is written, too. Other cases, which run in turn, evict the
    parameters.

    `branches` is True if the code branches on the values. New values are then drawn for each call: a processor predicts
    the branches of values that it has seen before, and takes half as long.
    """

    def __init__(
        self, target: Any, *shapes: tuple[int, ...], arguments: tuple[Any, ...] = (), branches: bool = False
    ) -> None:
        self.target = target
        self.shapes = shapes
        self.arguments = arguments
        self.branches = branches
        self._inputs: list[Tensor] = []
        self._out_elements = 0

    def prepare(self) -> None:
        """Write the inputs, as the layer before would do, and the memory that the output will use."""
        freed_for_output = _repeated_noise((self._out_elements + SPARE_ELEMENTS,))
        self._inputs = [_fresh_noise(shape) if self.branches else _repeated_noise(shape) for shape in self.shapes]
        del freed_for_output

    def run(self) -> Any:
        """Run the call; `prepare` must come before each run."""
        inputs, self._inputs = self._inputs, []
        return self.target(*inputs, *self.arguments)

    def layer(self) -> Layer:
        """Run the case once and return the layer that it computes."""
        self.prepare()
        inputs = [*self._inputs, *self.arguments]
        kept: list[Any] = []
        flop = count_flop(lambda: kept.append(self.run()))
        layer = layer_of("", self.target, inputs, {}, inputs, kept[0], flop)
        self._out_elements = layer.out_elements
        return layer


def _repeated_noise(shape: tuple[int, ...]) -> Tensor:
    """Return a new tensor of normal values. They repeat, so that writing them takes little of the caches."""
    import torch

    source = _noise_values()
    filled = torch.empty(shape)
    flat = filled.view(-1)
    full_length = len(flat) // len(source) * len(source)
    flat[:full_length].view(-1, len(source)).copy_(source)
    flat[full_length:].copy_(source[: len(flat) - full_length])
    return filled


def _fresh_noise(shape: tuple[int, ...]) -> Tensor:
    """Return a new tensor of newly drawn normal values."""
    import torch

    return torch.randn(shape)


@lru_cache(maxsize=1)
def _noise_values() -> Tensor:
    import torch

    return torch.randn(1 << 14, generator=torch.Generator().manual_seed(0))


def draw(seed: int, block: int) -> Iterator[LayerCase]:
    """Yield the random cases of a block, the same for the same arguments. Imports torch."""
    import numpy as np
    import torch

    rng = np.random.default_rng([seed, block])
    torch.manual_seed(int(rng.integers(1 << 31)))
    names, shares = list(KINDS), np.array(list(KINDS.values()), dtype=float)
    for name in rng.choice(names, size=BLOCK, p=shares / shares.sum()):
        yield DRAW[str(name)](rng)


def _side(rng: np.random.Generator, limit: int = 224) -> int:
    """Return a random side of a picture: usually one of SIDES, otherwise any."""
    usual = [side for side in SIDES if side <= limit]
    return int(rng.choice(usual)) if rng.random() < 0.7 else _between(rng, 1, limit)


def _channels(rng: np.random.Generator, limit: int = 2048) -> int:
    usual = [count for count in CHANNELS if count <= limit]
    return int(rng.choice(usual)) if rng.random() < 0.7 else _between(rng, 1, limit)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a random whole number, uniform in its logarithm."""
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _picture(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return the random shape of a feature map within the limits."""
    while True:
        channels, side = _channels(rng), _side(rng)
        if channels * side * side <= MAX_ELEMENTS // 4:
            return 1, channels, side, side


def _conv(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    # The FLOPs are drawn first, uniform in their logarithm; then shapes until one has about these FLOPs.
    target = math.exp(rng.uniform(math.log(1e5), math.log(MAX_FLOP)))
    while True:
        kernel = int(rng.choice([1, 3, 5, 7, 11], p=[0.38, 0.42, 0.08, 0.09, 0.03]))
        stride = int(rng.choice([1, 2, 4], p=[0.75, 0.22, 0.03]))
        c_in, c_out, side = _channels(rng), _channels(rng), _side(rng)
        groups = int(rng.choice([1, 2, 4, 8, 16, 32])) if rng.random() < 0.12 else 1
        if c_in % groups or c_out % groups:
            continue
        out = (side + 2 * (kernel // 2) - kernel) // stride + 1
        flop = 2 * out * out * c_out * c_in // groups * kernel * kernel
        fits = c_in * side * side <= MAX_ELEMENTS and c_out * out * out <= MAX_ELEMENTS
        if fits and target / 2 <= flop <= target * 2 and c_in * c_out // groups * kernel**2 <= MAX_ELEMENTS:
            module = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=rng.random() < 0.5)
            return LayerCase(module.eval(), (1, c_in, side, side))


def _depthwise(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    shape = _picture(rng)
    kernel, stride = int(rng.choice([3, 5, 7], p=[0.7, 0.2, 0.1])), int(rng.choice([1, 2], p=[0.7, 0.3]))
    return LayerCase(nn.Conv2d(shape[1], shape[1], kernel, stride, kernel // 2, groups=shape[1]).eval(), shape)


def _conv1d(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    while True:
        c_in, c_out, length = _channels(rng, 512), _channels(rng, 512), _between(rng, 10, 4096)
        kernel, stride = int(rng.choice([1, 3, 5, 9])), int(rng.choice([1, 2]))
        if c_in * length <= MAX_ELEMENTS and 2 * c_in * c_out * kernel * length <= MAX_FLOP // 4:
            return LayerCase(nn.Conv1d(c_in, c_out, kernel, stride, kernel // 2).eval(), (1, c_in, length))


def _conv_transpose(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    while True:
        c_in, c_out, side = _channels(rng, 512), _channels(rng, 512), _side(rng, 64)
        if 2 * c_in * c_out * 16 * side * side <= MAX_FLOP // 4:
            return LayerCase(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1).eval(), (1, c_in, side, side))


def _linear(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    while True:
        rows = 1 if rng.random() < 0.4 else _between(rng, 2, 1024)
        c_in, c_out = _between(rng, 8, 4096), _between(rng, 4, 4096)
        if 2 * rows * c_in * c_out <= MAX_FLOP and c_in * c_out <= MAX_ELEMENTS:
            shape = (1, c_in) if rows == 1 else (1, rows, c_in)
            return LayerCase(nn.Linear(c_in, c_out).eval(), shape)


def _batch_norm(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    shape = _picture(rng)
    return LayerCase(nn.BatchNorm2d(shape[1]).eval(), shape)


def _relu(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    shape = _picture(rng)
    module = nn.ReLU6 if rng.random() < 0.3 else nn.ReLU
    return LayerCase(module(inplace=bool(rng.random() < 0.5)), shape)


def _activation(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    shape = _picture(rng)
    kinds: Sequence[Callable[[], nn.Module]] = (nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
    return LayerCase(kinds[int(rng.integers(len(kinds)))](), shape)


def _softmax(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return LayerCase(nn.Softmax(-1), _picture(rng))


def _norm(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    width = _channels(rng)
    return LayerCase(nn.LayerNorm(width).eval(), (1, _between(rng, 1, 512), width))


def _add(rng: np.random.Generator) -> LayerCase:
    shape = _picture(rng)
    target = operator.mul if rng.random() < 0.2 else operator.add
    # Sometimes the second operand has one value for each channel, as in a normalisation or a gate.
    return LayerCase(target, shape, (1, shape[1], 1, 1) if rng.random() < 0.3 else shape)


def _copy(rng: np.random.Generator) -> LayerCase:
    shape = _picture(rng)
    return LayerCase(cat, shape, shape)


def cat(x: Tensor, other: Tensor) -> Tensor:
    """Concatenate along the channels, as models do."""
    import torch

    return torch.cat([x, other], 1)


def _max_pool(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return _pool(nn.MaxPool2d, rng, branches=True)


def _avg_pool(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return _pool(nn.AvgPool2d, rng)


def _pool(kind: Callable[..., nn.Module], rng: np.random.Generator, *, branches: bool = False) -> LayerCase:
    shape = _picture(rng)
    kernel = int(rng.choice([2, 3])) if shape[2] > 2 else 1
    return LayerCase(kind(kernel, 2, kernel // 2), shape, branches=branches)


def _mean(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return LayerCase(nn.AdaptiveAvgPool2d(1), _picture(rng))


def _view(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return LayerCase(nn.Flatten(), _picture(rng))


def _matmul(rng: np.random.Generator) -> LayerCase:
    import torch

    rows, inner, columns, heads = (_between(rng, 4, 512), _between(rng, 8, 512), _between(rng, 4, 512), 4)
    return LayerCase(torch.matmul, (1, heads, rows, inner), (1, heads, inner, columns))


def _attention(rng: np.random.Generator) -> LayerCase:
    from torch.nn.functional import scaled_dot_product_attention

    shape = (1, int(rng.choice([4, 8, 12])), _between(rng, 8, 400), int(rng.choice([32, 64])))
    return LayerCase(scaled_dot_product_attention, shape, shape, shape)


def _lstm(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return _recurrent(nn.LSTM, rng)


def _gru(rng: np.random.Generator) -> LayerCase:
    from torch import nn

    return _recurrent(nn.GRU, rng)


def _recurrent(kind: Callable[..., nn.Module], rng: np.random.Generator) -> LayerCase:
    while True:
        width, hidden, steps = _between(rng, 8, 1024), _between(rng, 8, 1024), _between(rng, 4, 300)
        if 8 * steps * hidden * (width + hidden) <= MAX_FLOP // 2:
            module = kind(width, hidden, num_layers=int(rng.choice([1, 2], p=[0.8, 0.2])), batch_first=True).eval()
            return LayerCase(module, (1, steps, width))


def _embedding(rng: np.random.Generator) -> LayerCase:
    import torch
    from torch import nn

    rows = _between(rng, 100, 20_000)
    indices = torch.randint(0, rows, (1, _between(rng, 1, 200)))
    return LayerCase(nn.Embedding(rows, int(rng.choice([64, 128, 256]))), arguments=(indices,))


DRAW: Mapping[str, Callable[[np.random.Generator], LayerCase]] = {
    "conv": _conv, "depthwise": _depthwise, "linear": _linear, "batch_norm": _batch_norm, "relu": _relu, "add": _add,
    "max_pool": _max_pool, "avg_pool": _avg_pool, "mean": _mean, "activation": _activation, "softmax": _softmax,
    "norm": _norm, "copy": _copy, "matmul": _matmul, "attention": _attention, "lstm": _lstm, "gru": _gru,
    "conv1d": _conv1d, "view": _view, "conv_transpose": _conv_transpose, "embedding": _embedding,
}  # fmt: skip
"""The function that draws a case of each kind."""
