"""The form of the pictures that weights take: resampling and normalisation; and where the weights stride."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

SIZE = 224
"""Height and width of the pictures."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Form:
    """The preparation of pictures that weights were trained with, and the variant of the network that they are of.

    A picture's short side is scaled to `resize` pixels by Pillow's filter `resampling`; a square of SIZE pixels is
    cropped in its centre. `mean` and `std` normalise values k/255. `stride_first` is True if a stage strides in its
    first 1 x 1 convolution, as in the paper of He et al., and False if in the 3 x 3 one, as in torchvision. `source`
    says where the weights come from.
    """

    source: str
    resize: int = 256
    resampling: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    stride_first: bool = False

    def to_json(self) -> str:
        """Return the form as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the form of a JSON text. Raises ValueError, TypeError or KeyError for any other text."""
        fields: Mapping[str, Any] = json.loads(text)
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
