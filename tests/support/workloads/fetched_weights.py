"""The tiny workload with a seed for its weights that lies in the folder of fetched weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from codecbench import Workload, hookimpl
from codecbench.registry import load_file

if TYPE_CHECKING:
    from torch import nn

TINY = load_file(Path(__file__).with_name("tiny.py"))


class Fetched(TINY.Tiny):  # type: ignore[misc]  # mypy does not know what a file gives
    """Its weights are drawn from the seed in `weights/seed.txt` of a data folder."""

    name = "fetched"

    def build_model(self) -> nn.Module:
        """(N, 3, 8, 8) to (N, 4) logits."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.weights_file("seed.txt").read_text()))
            model: nn.Module = TINY.network().eval()
            return model

    def weights_sha256(self) -> str:
        """The hash of the file."""
        return hashlib.sha256(self.weights_file("seed.txt").read_bytes()).hexdigest()


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [Fetched]
