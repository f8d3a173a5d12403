"""Layers that a measurement draws: every kind, always the same, never the same values twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codecbench.devices import cases as device_cases
from codecbench.devices.cases import LayerCase


def drawn(block: int) -> list[LayerCase]:
    with torch.inference_mode():
        return list(device_cases.draw(0, block))


@pytest.mark.parametrize("kind", list(device_cases.KINDS))
def test_each_kind_that_is_drawn_runs_and_is_named(kind: str) -> None:
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        layers = [device_cases.DRAW[kind](rng).layer() for _ in range(3)]
    expected = {"conv": "conv2d", "depthwise": "conv2d"}.get(kind, kind)
    assert {layer.kind for layer in layers} == {expected}
    assert all(layer.flop <= 2 * device_cases.MAX_FLOP for layer in layers)
    assert all(layer.out_elements > 0 for layer in layers)


def test_every_kind_is_among_what_is_drawn() -> None:
    assert set(device_cases.KINDS) == set(device_cases.DRAW)


def test_a_block_is_always_the_same_and_blocks_differ() -> None:
    def described(block: int) -> list[str]:
        return [f"{case.target} {case.shapes}" for case in drawn(block) if isinstance(case.target, torch.nn.Module)]

    assert described(1) == described(1)
    assert described(1) != described(2)


def test_what_branches_on_values_never_meets_the_same_ones_twice() -> None:
    met: list[torch.Tensor] = []
    for branches in (True, False):
        case = LayerCase(lambda x: met.append(x.clone()), (1, 3, 4, 4), branches=branches)
        for _ in range(2):
            case.prepare()
            case.run()
    assert not torch.equal(met[0], met[1])
    assert torch.equal(met[2], met[3])
    assert device_cases.DRAW["max_pool"](np.random.default_rng(0)).branches
