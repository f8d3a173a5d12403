"""Workloads whose model torch.fx cannot trace: a convolution and an attention block, with weights from a seed.

A plugin file like any other. The second workload computes in bfloat16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import Metric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

COUNTS = {"fit": 40, "choice": 12, "test": 24}
CLASSES = 4


class Attentive(Workload):
    """Top-1 of an untrained vision transformer on noise."""

    name = "attentive"
    metric = Metric("top-1", "%", higher_is_better=True, scale=100.0, binary=True)
    default_splits = ("stem", "block.add")
    budget = 1.0
    dtype = "float32"

    @property
    def input_spec(self) -> TensorSpec:
        """RGB images."""
        return TensorSpec((3, 16, 16), image=True)

    def build_model(self) -> nn.Module:
        """(N, 3, 16, 16) to a dict with (N, 4) logits."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return network().eval().to(getattr(torch, self.dtype))

    def weights_sha256(self) -> str:
        """Names the seed."""
        return hashlib.sha256(f"attentive, {self.dtype}, seed 1".encode()).hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Consecutive identifiers."""
        return range(COUNTS[subset])

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Noise drawn from the position."""
        import numpy as np

        rngs = [np.random.default_rng([COUNTS[subset], at]) for at in positions]
        return [(rng.integers(0, 256, (3, 16, 16)) / np.float32(255)).astype(np.float32) for rng in rngs]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Labels that follow from the position."""
        return [at * 7 % CLASSES for at in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        """1 over 1 where right."""
        return float(int(output[0].argmax()) == target), 1.0


class AttentiveBfloat16(Attentive):
    """The same in bfloat16."""

    name = "attentive-bfloat16"
    dtype = "bfloat16"


def network() -> nn.Module:
    """The untrained model."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    class Block(nn.Module):
        """Self-attention and a perceptron, with residuals."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            count, length, width = x.shape
            heads = self.qkv(self.before(x)).reshape(count, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
            found = F.scaled_dot_product_attention(*heads.unbind(0), attn_mask=mask)
            x = x + self.project(found.transpose(1, 2).reshape(count, length, width))
            return x + self.mlp(self.after(x))

    class Network(nn.Module):
        """Stem, block, classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
            self.block, self.classifier = Block(8), nn.Linear(8, CLASSES)

        def forward(self, pixels: Tensor, *, mask: Tensor | None = None) -> dict[str, Tensor | None]:
            if pixels.shape[-1] != 16:
                raise ValueError("the side of a picture is 16")
            x = self.stem(pixels).flatten(2).transpose(1, 2)
            return {"loss": None, "logits": self.classifier(self.block(x, mask).mean(1))}

    return Network()


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workloads."""
    return [Attentive, AttentiveBfloat16]
