"""Sensitivity of the network behind a split to the values of a tensor, learned from gradients of the tail.

Importing this module imports neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.codec import FitData, TensorSpec
from codecbench.toolbox.transforms.tiling import Tiling

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

MAX_FULL_VALUES = 16_384
"""Values of the largest tensor that is taken as one block, for a tail that sees few directions of it."""

MAX_RANK = 64
"""Directions that are few."""

FLOOR = 0.1
"""Added to the sensitivities, in units of their mean, since the tail is linear for small errors only.

Between 0.03 and 0.3 the KL divergence of the outputs at equal bytes changes little on features of a ResNet-20.
"""

_SAMPLES, _BLOCKS, _BATCH = 1000, 32_000, 50
"""Gradients are taken of so many samples, or blocks, and of so many samples at once."""


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Blocks, and a matrix that makes an error of their values as great as it matters.

    `matrix` is (rows, values), `inverse` (values, rows) its inverse. With fewer rows than values, errors outside the
    rows do not matter, and `inverse` is the pseudo-inverse.
    """

    tiling: Tiling
    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]

    @classmethod
    def plain(cls, spec: TensorSpec) -> Sensitivity:
        """All values alike: the identity, on the blocks of `Tiling.of`."""
        import numpy as np

        tiling = Tiling.of(spec)
        identity = np.eye(tiling.values(spec.max_shape))
        return cls(tiling, identity, identity)

    @classmethod
    def of_tail(cls, data: FitData) -> Sensitivity | None:
        """The root of E[J^T J], J being the Jacobian of the tail's outputs by a block, averaged over positions as well.

        FLOOR is added. Where E[J^T J] of the whole tensor has a rank of at most MAX_RANK (nothing behind the split but
        pooling and a linear layer, say), the tensor is one block, and the rows are these directions alone. None where
        the outputs have no derivative by the tensor. Takes half of the fit's time at most.
        """
        import numpy as np

        tiling, shape = Tiling.of(data.spec), data.spec.max_shape
        values, is_full = tiling.values(shape), None not in data.spec.shape and math.prod(shape) <= MAX_FULL_VALUES
        total = np.zeros((values, values))
        first: list[NDArray[np.float32]] = []
        for gradients in _gradients(data, tiling):
            blocks = tiling.split(gradients).astype(np.float64)
            total += blocks.T @ blocks
            if is_full and len(first) * _BATCH < 4 * MAX_RANK:
                first.append(gradients.reshape(len(gradients), -1))
        if not np.isfinite(total).all() or not total.any():
            return None
        directions = _few_directions(np.concatenate(first).astype(np.float64)) if is_full else None
        if directions is not None:
            return cls(Tiling.one_block(shape), directions, np.asarray(np.linalg.pinv(directions), np.float64))
        energies, vectors = np.linalg.eigh(total * (values / np.trace(total)) + FLOOR * np.eye(values))
        return cls(tiling, (vectors * np.sqrt(energies)) @ vectors.T, (vectors / np.sqrt(energies)) @ vectors.T)

    def apply(self, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blocks (n, values) to weighted blocks (n, rows); the same array where the matrix is the identity."""
        return blocks if self._is_identity else blocks @ self.matrix.T

    @cached_property
    def _is_identity(self) -> bool:
        import numpy as np

        return self.matrix.shape[0] == self.matrix.shape[1] and np.array_equal(self.matrix, np.eye(len(self.matrix)))


def _few_directions(gradients: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The root of E[g g^T] of gradients (n, values), as (rank, values); None where they span many directions."""
    import numpy as np

    energies, vectors = np.linalg.eigh(gradients @ gradients.T)
    strong = energies > 1e-6 * energies.max()
    if not 0 < strong.sum() <= min(MAX_RANK, len(gradients) // 4):  # of few samples, the rank says nothing
        return None
    return np.asarray(vectors[:, strong].T @ gradients)


def _gradients(data: FitData, tiling: Tiling) -> Iterator[NDArray[np.float32]]:
    """Gradients of sums of the tail's outputs with random signs, (n, *shape): E[g g^T] is E[J^T J]."""
    import torch

    generator = torch.Generator().manual_seed(data.seed)
    enough = min(_SAMPLES, _BLOCKS / tiling.count(data.spec.max_shape))
    seen = 0
    for batch, targets in data.batches(_BATCH):
        # Softmax does not see what all classes have in common.
        centred = all(isinstance(target, int) for target in targets)
        for xs in [batch] if isinstance(batch, torch.Tensor) else [x[None] for x in batch]:
            xs = xs.to(data.torch_device).detach().requires_grad_()
            with torch.enable_grad():
                outputs = floating_tensors(data.tail(xs))
                score = sum((_signed(output, centred, generator) for output in outputs), torch.zeros(()))
                gradient = torch.autograd.grad(score, xs, allow_unused=True)[0] if score.requires_grad else None
            yield torch.zeros(xs.shape).numpy() if gradient is None else gradient.float().cpu().numpy()
        seen += len(batch)
        if seen >= enough or data.remaining_s() < data.max_s / 2:
            return


def floating_tensors(output: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors in a model's output."""
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
