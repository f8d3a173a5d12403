"""Base classes of codecs, and operating points by kind of tensor."""

from codecbench.toolbox.codecs.colour_modes import ColourPictureCodec, ModesByQuality
from codecbench.toolbox.codecs.latent import LatentCodec, decode_by_shape, unsuited
from codecbench.toolbox.codecs.picture import (
    PictureCodec,
    PlainPictureCodec,
    imagecodecs_missing,
    picture_size,
    pillow_file,
    pillow_picture,
)
from codecbench.toolbox.codecs.points import Points, TensorKind, kind_of, steps
from codecbench.toolbox.codecs.steerable import Edge, Steerable, edge_fault
from codecbench.toolbox.codecs.suited import range_factor, step_factor, suited_steps

__all__ = [
    "ColourPictureCodec",
    "Edge",
    "LatentCodec",
    "ModesByQuality",
    "PictureCodec",
    "PlainPictureCodec",
    "Points",
    "Steerable",
    "TensorKind",
    "decode_by_shape",
    "edge_fault",
    "imagecodecs_missing",
    "kind_of",
    "picture_size",
    "pillow_file",
    "pillow_picture",
    "range_factor",
    "step_factor",
    "steps",
    "suited_steps",
    "unsuited",
]
