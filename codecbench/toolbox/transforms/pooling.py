"""Positions pooled with fixed weights, for a tail that sees nothing else of them, such as global average pooling.

Importing this module does not import numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNIT = 256
"""The largest magnitude of a weight. Sums of integers below 2^23 over 2^14 positions stay exact in float64."""

_NEGLIGIBLE = 1e-6
"""The share of the gradients' energy that another direction among positions may have."""


@dataclass(frozen=True, eq=False)
class Pooling:
    """Integer `weights` (positions,) of one direction among the positions of a tensor, the largest being UNIT.

    The pooled value of a channel is its coefficient along this direction, in units of UNIT: the mean of its positions
    for equal weights.
    """

    weights: NDArray[np.int64]

    @classmethod
    def seen_by(cls, gradients: NDArray[np.float64]) -> Pooling | None:
        """Return the direction of gradients (n, positions), one row for each sample and channel; None if they differ.

        Gradients that are multiples of one direction come from a tail that sees only this direction of each channel.
        """
        import numpy as np

        energies, vectors = np.linalg.eigh(gradients.T @ gradients)
        if len(energies) < 2 or not energies[-1] > 0 or energies[-2] > _NEGLIGIBLE * energies[-1]:
            return None
        direction = vectors[:, -1] / vectors[np.abs(vectors[:, -1]).argmax(), -1]
        return cls(np.rint(direction * UNIT).astype(np.int64))

    def pool(self, blocks: NDArray[Any]) -> NDArray[np.float64]:
        """Return the pooled values (n, channels) of blocks of one position each, (n * positions, channels)."""
        import numpy as np

        weights = self.weights.astype(np.float64)
        positions = blocks.reshape(-1, len(weights), blocks.shape[1])
        sums: NDArray[np.float64] = np.einsum("p,npc->nc", weights, positions.astype(np.float64))
        return sums * UNIT / float(weights @ weights)

    def spread(self, pooled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return blocks (n * positions, channels) of the direction that have these pooled values (n, channels)."""
        import numpy as np

        return (pooled[:, None, :] * (self.weights / np.float64(UNIT))[:, None]).reshape(-1, pooled.shape[1])
