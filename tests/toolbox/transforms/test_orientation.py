"""The axis of a matrix along which blocks lie: found from data, whichever way the matrix is turned."""

from __future__ import annotations

import pytest
import torch
from support.training import training
from torch import Tensor

from codecbench import TensorSpec
from codecbench.toolbox.transforms import MAX_CHANNELS, Tiling, possible_tilings, suited_channel_axis, suited_tiling


def tokens(count: int, length: int, channels: int) -> Tensor:
    """Samples of tokens whose channels follow six directions, the same for all tokens."""
    torch.manual_seed(0)
    return torch.randn(count, length, 6) @ torch.randn(6, channels) + 0.01 * torch.randn(count, length, channels)


@pytest.mark.parametrize("turned", [False, True])
def test_blocks_lie_along_the_tokens(turned: bool) -> None:
    xs = tokens(64, 20, 48)
    data = training(xs.transpose(1, 2).contiguous() if turned else xs, torch.nn.Flatten())
    assert suited_tiling(data).axes == ((1,) if turned else (0,))
    assert suited_tiling(data) in possible_tilings(data.spec)


@pytest.mark.parametrize(
    "spec",
    [TensorSpec((10,)), TensorSpec((4, 8, 8)), TensorSpec((None, 6), max_length=20), TensorSpec((3, 8, 8), image=True)],
)
def test_only_a_matrix_of_fixed_size_has_a_choice(spec: TensorSpec) -> None:
    assert possible_tilings(spec) == [Tiling.of(spec)]


def test_a_matrix_with_many_rows_has_one_way_left() -> None:
    assert [tiling.axes for tiling in possible_tilings(TensorSpec((MAX_CHANNELS + 1, 10)))] == [(0,)]
    assert possible_tilings(TensorSpec((MAX_CHANNELS + 1, MAX_CHANNELS + 1))) == []


@pytest.mark.parametrize("turned", [False, True])
def test_channels_are_the_lines_that_differ(turned: bool) -> None:
    torch.manual_seed(1)
    xs = torch.randn(32, 17, 24) * torch.linspace(0.2, 3.0, 24)
    data = training(xs.transpose(1, 2).contiguous() if turned else xs, torch.nn.Flatten())
    assert suited_channel_axis(data) == (0 if turned else 1)


def test_without_a_difference_the_first_axis_has_the_channels() -> None:
    torch.manual_seed(2)
    assert suited_channel_axis(training(torch.randn(32, 12, 40), torch.nn.Flatten())) == 0
    assert suited_channel_axis(training(torch.zeros(32, 12, 40), torch.nn.Flatten())) == 0
    with pytest.raises(ValueError, match="no matrix"):
        suited_channel_axis(training(torch.randn(8, 4, 8, 8), torch.nn.Flatten()))
