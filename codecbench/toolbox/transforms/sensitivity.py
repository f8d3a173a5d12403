"""Sensitivity of the tail to errors in the tensor's values, learned from the tail's gradients.

Importing this module imports neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from codecbench.codec import FitData, TensorSpec
from codecbench.toolbox.transforms.pooling import Pooling
from codecbench.toolbox.transforms.tiling import MAX_CHANNELS, Tiling

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

MAX_FULL_VALUES = 16_384
"""The largest tensor, in values, that is taken as one block, for a tail whose gradients have low rank."""

MAX_RANK = 64
"""The largest rank that counts as low."""

FLOOR = 0.1
"""Added to the sensitivities, in units of their mean, because the tail is linear for small errors only.

Between 0.03 and 0.3 the KL divergence of the outputs at equal bytes changes little on features of a ResNet-20.
"""

_SAMPLES, _BLOCKS, _BATCH = 1000, 32_000, 50
"""The numbers of samples and of blocks from which gradients are taken, whichever is reached first, and the
batch size. Fewer samples than that are taken again, with other signs, until there are as many blocks as values."""

_MAX_EPOCHS = 50


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """A tiling, and a matrix that weights an error in a block's values by its effect on the tail's outputs.

    `matrix` is (rows, values), `inverse` (values, rows) its inverse. With fewer rows than values, errors orthogonal to
    the rows have no effect, and `inverse` is the pseudo-inverse. With `pooling`, the tail sees only the pooled values
    of a sample: blocks have one position each, and those of a sample are pooled to one.
    """

    tiling: Tiling
    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]
    pooling: Pooling | None = None

    @classmethod
    def plain(cls, spec: TensorSpec, tiling: Tiling | None = None) -> Sensitivity:
        """Return equal sensitivity to all values: the identity, on the blocks of `tiling`, by default `Tiling.of`."""
        import numpy as np

        tiling = tiling or Tiling.of(spec)
        identity = np.eye(tiling.values(spec.max_shape))
        return cls(tiling, identity, identity)

    @classmethod
    def of_tail(cls, data: FitData, tiling: Tiling | None = None, *, pools: bool = False) -> Sensitivity | None:
        """Return the square root of E[J^T J] plus FLOOR, with J the Jacobian of the tail's outputs in a block's values.

        The mean is over samples and positions. If E[J^T J] of the whole tensor has a rank of at most MAX_RANK (as when
        only pooling and a linear layer follow the split), the tensor is one block, and the rows span these directions
        alone, without FLOOR. With `pools`, the same holds for the pooled values of a tail that sees only these
        (`Pooling`), whatever their number. Returns None if the outputs have no derivative in the tensor. Takes at most
        half of the fit's time. The blocks are those of `tiling`, by default `Tiling.of`.
        """
        import numpy as np

        tiling, shape = tiling or Tiling.of(data.spec), data.spec.max_shape
        is_fixed, pooling = None not in data.spec.shape, None
        is_full = is_fixed and math.prod(shape) <= MAX_FULL_VALUES
        total: NDArray[np.float64] | None = None
        first: list[NDArray[np.float64]] = []
        seen, seen_blocks, enough = 0, 0, min(_SAMPLES, _BLOCKS / tiling.count(shape))
        for gradients in _gradients(data):
            if total is None and pools and is_fixed and not data.spec.image:
                pooling = _pooling(gradients, tiling)
            if total is None and pooling is not None:
                tiling = tiling.single
            blocks = tiling.split(gradients).astype(np.float64)
            blocks = blocks if pooling is None else pooling.pool(blocks)
            total = blocks.T @ blocks if total is None else total + blocks.T @ blocks
            if (is_full or pooling is not None) and len(first) * _BATCH < 4 * MAX_RANK:
                first.append(gradients.reshape(len(gradients), -1).astype(np.float64) if is_full else blocks)
            seen, seen_blocks = seen + len(gradients), seen_blocks + len(blocks)
            if seen >= enough or (seen >= data.count and seen_blocks >= len(total)):
                break
        if total is None or not np.isfinite(total).all() or not total.any():
            return None
        directions = _low_rank_directions(np.concatenate(first)) if first else None
        if directions is None:
            return cls(tiling, *_square_root(total), pooling)
        inverse = np.asarray(np.linalg.pinv(directions), np.float64)
        return (
            cls(Tiling.one_block(shape), directions, inverse) if is_full else cls(tiling, directions, inverse, pooling)
        )

    def apart(self) -> Sensitivity:
        """Return the sensitivity that weights each value for itself; the same if there are fewer rows than values."""
        import numpy as np

        if self.matrix.shape[0] < self.matrix.shape[1]:
            return self
        weights = np.sqrt(np.square(self.matrix).sum(0))
        return replace(self, matrix=np.diag(weights), inverse=np.diag(1 / weights))

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of blocks of a sample of this shape."""
        return self.tiling.count(shape) if self.pooling is None else 1

    def blocks(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the blocks of samples (n, *shape), (n * count, values)."""
        blocks = self.tiling.split(samples)
        return blocks if self.pooling is None else self.pooling.pool(blocks)

    def apply(self, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weighted blocks (n, rows) for blocks (n, values); the same array if the matrix is the identity."""
        return blocks if self._is_identity else blocks @ self.matrix.T

    @cached_property
    def _is_identity(self) -> bool:
        import numpy as np

        return self.matrix.shape[0] == self.matrix.shape[1] and np.array_equal(self.matrix, np.eye(len(self.matrix)))


def _square_root(total: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the symmetric square root of sums of squared gradients plus FLOOR, and its inverse."""
    import numpy as np

    values = len(total)
    energies, vectors = np.linalg.eigh(total * (values / np.trace(total)) + FLOOR * np.eye(values))
    return (vectors * np.sqrt(energies)) @ vectors.T, (vectors / np.sqrt(energies)) @ vectors.T


def _pooling(gradients: NDArray[np.float32], tiling: Tiling) -> Pooling | None:
    """Return the direction among the positions of a tensor (n, *shape) that its gradients share, if there is one."""
    import numpy as np

    shape = gradients.shape[1:]
    positions, channels = tiling.single.count(shape), tiling.channels(shape)
    if positions > MAX_CHANNELS or channels > MAX_CHANNELS:
        return None
    blocks = tiling.single.split(gradients).reshape(len(gradients), positions, channels).astype(np.float64)
    return Pooling.seen_by(blocks.transpose(0, 2, 1).reshape(-1, positions))


def _low_rank_directions(gradients: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the square root of E[g g^T] of gradients (n, values), as (rank, values); None if their rank is high."""
    import numpy as np

    energies, vectors = np.linalg.eigh(gradients @ gradients.T)
    strong = energies > 1e-6 * energies.max()
    if not 0 < strong.sum() <= min(MAX_RANK, len(gradients) // 4):  # few samples would have a low rank anyway
        return None
    return np.asarray(vectors[:, strong].T @ gradients)


def _gradients(data: FitData) -> Iterator[NDArray[np.float32]]:
    """Yield gradients of sums of the tail's outputs with random signs, (n, *shape), for which E[g g^T] is E[J^T J].

    Ends after half of the fit's time.
    """
    import torch

    generator = torch.Generator().manual_seed(data.seed)
    for batch, targets in chain.from_iterable(data.batches(_BATCH) for _ in range(_MAX_EPOCHS)):
        # Softmax is invariant to a constant added to all classes.
        centred = all(isinstance(target, int) for target in targets)
        for xs in [batch] if isinstance(batch, torch.Tensor) else [x[None] for x in batch]:
            xs = xs.to(data.torch_device).detach().requires_grad_()
            with torch.enable_grad():
                outputs = floating_tensors(data.tail(xs))
                score = sum((_signed(output, centred, generator) for output in outputs), torch.zeros(()))
                gradient = torch.autograd.grad(score, xs, allow_unused=True)[0] if score.requires_grad else None
            yield torch.zeros(xs.shape).numpy() if gradient is None else gradient.float().cpu().numpy()
        if data.remaining_s() < data.max_s / 2:
            return


def floating_tensors(output: Any) -> Iterator[torch.Tensor]:
    """Yield the floating-point tensors in a model's output."""
    import torch

    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping | Sequence) and not isinstance(output, str):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from floating_tensors(part)


def _signed(output: torch.Tensor, centred: bool, generator: torch.Generator) -> torch.Tensor:
    import torch

    signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
    if centred and output.ndim > 1:
        signs = signs - signs.mean(-1, keepdim=True)
    return (output * signs).sum().cpu()
