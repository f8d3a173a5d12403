"""The start of a transform on frequency bands: what the tail does not see is not sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from support.training import noise, training
from torch import Tensor

from codecbench import FitData
from codecbench.toolbox.bands import BandDecoder, BandEncoder, BandStart, BlockCosines, fisher_gradients
from codecbench.toolbox.transforms.tiling import Tiling

CHANNELS, SIDE, CLASSES = 6, 4, 5
WHOLE = Tiling((1, 2), (SIDE, SIDE))
WEIGHTS = noise(CLASSES, CHANNELS, seed=3)


def pooled_scores(xs: Tensor) -> Tensor:
    return xs.mean((2, 3)) @ WEIGHTS.T


def data(tail: Callable[[Tensor], Tensor] = pooled_scores, count: int = 64) -> FitData:
    return training(noise(count, CHANNELS, SIDE, SIDE).relu(), tail)


def test_behind_a_pooling_only_the_mean_is_sent() -> None:
    start = BandStart.of(data(), 2.0, WHOLE)
    assert len(start.bands[0].matrix) >= 1
    assert all(not len(band.matrix) for band in start.bands[1:])
    assert len(start.kept) <= CLASSES - 1, "scores have a constant that changes no probability"


def test_finer_steps_keep_more_latents_in_falling_order() -> None:
    def everything(xs: Tensor) -> Tensor:
        return xs.flatten(1) @ noise(CHANNELS * SIDE * SIDE, 200, seed=4)

    counts = []
    for step in (4.0, 1.0, 0.25):
        start = BandStart.of(data(everything), step, WHOLE)
        encoder = BandEncoder(BlockCosines(SIDE, SIDE), [b.matrix for b in start.bands], start.mean, start.kept)
        latents = encoder(noise(64, CHANNELS, SIDE, SIDE).relu(), start.geometry)
        deviations = latents.square().mean((0, 2, 3)).sqrt()
        assert (deviations.diff() <= 1e-4).all()
        counts.append(len(start.kept))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_a_fine_start_decodes_the_samples() -> None:
    def everything(xs: Tensor) -> Tensor:
        return xs.flatten(1) @ noise(CHANNELS * SIDE * SIDE, 200, seed=4)

    source = data(everything)
    start = BandStart.of(source, 0.01, WHOLE)
    cosines, xs = BlockCosines(SIDE, SIDE), noise(5, CHANNELS, SIDE, SIDE, seed=9).relu()
    encoder = BandEncoder(cosines, [band.matrix for band in start.bands], start.mean, start.kept)
    decoder = BandDecoder(cosines, [band.inverse for band in start.bands], start.mean, start.kept, (0.0, 9.0))
    decoded, output = decoder(encoder(xs, start.geometry).round(), start.geometry)
    assert output is None
    assert torch.allclose(decoded, xs, atol=0.1)


def test_gradients_are_those_of_drawn_classes() -> None:
    """Their mean is zero, and the mean of their products the Fisher matrix, diag(p) - p p^T behind plain scores."""
    scores = torch.tensor([2.0, 1.0, 0.0])

    def same(xs: Tensor) -> Tensor:
        return xs.flatten(1) * 0 + xs.flatten(1) + scores

    source = dataclasses.replace(training(torch.zeros(1500, 3, 1, 1), same), max_s=60.0)
    gradients = torch.cat([batch.flatten(1) for batch in fisher_gradients(source, 1500)])
    p = scores.softmax(0)
    assert torch.allclose(gradients.mean(0), torch.zeros(3), atol=0.03)
    assert torch.allclose(gradients.T @ gradients / len(gradients), torch.diag(p) - torch.outer(p, p), atol=0.03)


@pytest.mark.parametrize("tail", [lambda xs: xs.sum((1, 2, 3)), lambda xs: xs * 2.0], ids=["number", "map"])
def test_outputs_that_are_no_scores_have_gradients_too(tail: Callable[[Tensor], Tensor]) -> None:
    gradients = torch.cat(list(fisher_gradients(data(tail), 1500)))
    assert gradients.shape == (128, CHANNELS, SIDE, SIDE)
    assert (gradients != 0).all()


def test_a_tail_that_sees_nothing_leaves_all_values_equal() -> None:
    def nothing(xs: Tensor) -> Tensor:
        return torch.zeros(len(xs), 3)

    start = BandStart.of(data(nothing), 1.0, WHOLE)
    assert all(torch.isfinite(band.matrix).all() for band in start.bands)
    assert all(len(band.matrix) for band in start.bands)
