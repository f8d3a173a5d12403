"""Cases of the kit: how near a decode has to be."""

from __future__ import annotations

import torch
from support.paths import BROKEN

from codecbench import TensorSpec
from codecbench.kit.cases import KitCase
from codecbench.registry import load_file

broken = load_file(BROKEN)

FEATURES = TensorSpec((4, 8, 8))


def test_close_enough_is_strict_for_lossless_and_integers():
    near = torch.tensor([1.0]), torch.tensor([1.0 + 1e-6])
    assert KitCase(broken.Plain, FEATURES, {}).close_enough(*near) is None
    assert KitCase(broken.Exact, FEATURES, {}).close_enough(*near) is not None
    whole = torch.tensor([100_000_000]), torch.tensor([100_000_001])
    assert KitCase(broken.Plain, FEATURES, {}).close_enough(*whole) is not None
