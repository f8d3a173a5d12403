"""Tilings, uniform quantisation, prediction, linear transforms and the sensitivity of the tail."""

from codecbench.toolbox.transforms.axes import told_by
from codecbench.toolbox.transforms.linear import Analysis, Synthesis, learn_transform
from codecbench.toolbox.transforms.moments import Moments
from codecbench.toolbox.transforms.orientation import possible_tilings, suited_channel_axis, suited_tiling
from codecbench.toolbox.transforms.prediction import neighbours_mean, restore_from_differences
from codecbench.toolbox.transforms.sensitivity import Sensitivity
from codecbench.toolbox.transforms.tiling import MAX_CHANNELS, Tiling
from codecbench.toolbox.transforms.uniform import (
    RANGE_BYTES,
    dequantise_uniform,
    from_pixels,
    quantise_uniform,
    read_range,
    to_pixels,
)

__all__ = [
    "MAX_CHANNELS",
    "RANGE_BYTES",
    "Analysis",
    "Moments",
    "Sensitivity",
    "Synthesis",
    "Tiling",
    "dequantise_uniform",
    "from_pixels",
    "learn_transform",
    "neighbours_mean",
    "possible_tilings",
    "quantise_uniform",
    "read_range",
    "restore_from_differences",
    "suited_channel_axis",
    "suited_tiling",
    "to_pixels",
    "told_by",
]
