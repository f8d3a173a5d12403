"""Sensitivities: an error is as large as the tail sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.training import noise, training
from torch import Tensor

from codecbench import TensorSpec
from codecbench.kit.samples import fit_data
from codecbench.toolbox.transforms.sensitivity import Sensitivity
from codecbench.toolbox.transforms.tiling import Tiling


def of_tail(xs: Tensor, tail: Callable[[Tensor], Any], targets: list[Any] | None = None) -> Sensitivity:
    sensitivity = Sensitivity.of_tail(training(xs, tail, targets))
    assert sensitivity is not None
    return sensitivity


def test_plain_changes_nothing() -> None:
    sensitivity = Sensitivity.plain(TensorSpec((4, 6, 6)))
    blocks = noise(5, 4 * 6 * 6).double().numpy()
    assert sensitivity.apply(blocks) is blocks
    assert np.array_equal(blocks @ sensitivity.matrix.T @ sensitivity.inverse.T, blocks)


def test_few_directions_are_those_that_the_tail_sees() -> None:
    mix = noise(2, 4)
    sensitivity = of_tail(noise(300, 4, 8, 8), lambda x: x.mean((2, 3)) @ mix.T)
    assert sensitivity.matrix.shape == (2, 4 * 8 * 8)
    assert sensitivity.tiling == Tiling.one_block((4, 8, 8))
    x = noise(1, 4, 8, 8, seed=1)
    kept = sensitivity.apply(x.reshape(1, -1).double().numpy()) @ sensitivity.inverse.T
    seen, expected = torch.from_numpy(kept).reshape(4, 8, 8).mean((1, 2)), x[0].mean((1, 2)).double()
    assert torch.allclose(mix.double() @ seen, mix.double() @ expected, atol=1e-6)


def test_a_tail_that_sees_many_directions_weights_blocks() -> None:
    mix = noise(256, 256, seed=1)
    sensitivity = of_tail(noise(400, 2, 16, 16), lambda x: torch.tanh(x[:, 0].flatten(1) @ mix / 16).square())
    assert sensitivity.tiling == Tiling.of(TensorSpec((2, 16, 16)))
    assert np.allclose(sensitivity.matrix @ sensitivity.inverse, np.eye(128))
    seen, unseen = np.square(sensitivity.matrix).sum(0).reshape(2, 64).mean(1)
    assert seen > 10 * unseen


def test_a_tail_that_sees_means_alone_weights_means() -> None:
    mix = noise(80, 80, seed=1)

    def tail(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.mean((2, 3)) @ mix / 8)

    found = Sensitivity.of_tail(training(noise(300, 80, 4, 4), tail), pools=True)
    assert found is not None
    assert found.pooling is not None
    assert found.matrix.shape == (80, 80)
    assert found.count((80, 4, 4)) == 1
    xs = noise(6, 80, 4, 4, seed=2).double().numpy()
    assert np.allclose(found.blocks(xs), xs.mean((2, 3)))
    assert of_tail(noise(300, 80, 4, 4), tail).pooling is None
    unlike = Sensitivity.of_tail(training(noise(300, 80, 4, 4), lambda x: tail(x).square() + x[:, :, 0, 0]), pools=True)
    assert unlike is not None
    assert unlike.pooling is None


def test_few_samples_are_taken_again_until_there_are_as_many_gradients_as_values() -> None:
    """With 20 gradients in 128 dimensions, most of what the tail sees would count as unseen."""
    mix = noise(128, 128, seed=1)
    sensitivity = of_tail(noise(20, 128), lambda x: x @ mix)
    strengths = np.linalg.eigvalsh(sensitivity.matrix)
    assert (strengths > 1.05 * strengths.min()).sum() > 100


@pytest.mark.parametrize(
    "tail",
    [lambda x: x.argmax(1), lambda x: torch.zeros(len(x), 3), lambda x: x.sum() * 0],
    ids=["integers", "no graph", "no slope"],
)
def test_a_tail_without_derivatives_has_no_sensitivity(tail: Callable[[Tensor], Tensor]) -> None:
    assert Sensitivity.of_tail(training(noise(60, 4, 4, 4), tail)) is None


def test_outputs_in_lists_and_mappings_count() -> None:
    xs = noise(60, 4, 4, 4)
    bare, listed, named = (
        of_tail(xs, tail).matrix
        for tail in (lambda x: x[:, 0], lambda x: [x[:, 0]], lambda x: {"scores": (x[:, 0], "text", 1)})
    )
    assert np.array_equal(bare, listed)
    assert np.array_equal(bare, named)


def test_what_all_classes_have_in_common_does_not_count() -> None:
    xs = noise(200, 6)

    def shifted(x: Tensor) -> Tensor:
        return x[:, :3] + 100 * x[:, 3:4]

    as_classes, as_values = of_tail(xs, shifted, [0] * len(xs)), of_tail(xs, shifted)
    assert as_classes.matrix.shape == (2, 6)
    assert np.abs(as_classes.matrix[:, 3]).max() < 1e-3
    assert as_values.matrix.shape == (3, 6)


def test_lengths_may_vary() -> None:
    spec = TensorSpec((5, None), max_length=60)
    sensitivity = Sensitivity.of_tail(fit_data(spec))
    assert sensitivity is not None
    assert sensitivity.tiling == Tiling.of(spec)
