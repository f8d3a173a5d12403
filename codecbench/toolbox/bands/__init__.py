"""Transforms of large feature maps on frequency bands, and trained copies of large tails.

Names are imported when they are first used, since all need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecbench.toolbox.bands.adapted_tail import adapted, is_large, unchanged
    from codecbench.toolbox.bands.band_networks import BandDecoder, BandEncoder, in_bfloat16
    from codecbench.toolbox.bands.band_start import Band, BandStart, cosines_of, fisher_gradients, inverse_softplus
    from codecbench.toolbox.bands.band_transform import BandTransform
    from codecbench.toolbox.bands.frequency_bands import BlockCosines

__all__ = [
    "Band",
    "BandDecoder",
    "BandEncoder",
    "BandStart",
    "BandTransform",
    "BlockCosines",
    "adapted",
    "cosines_of",
    "fisher_gradients",
    "in_bfloat16",
    "inverse_softplus",
    "is_large",
    "unchanged",
]

_NAMES = {
    "adapted_tail": (
        "adapted",
        "is_large",
        "unchanged",
    ),
    "band_networks": (
        "BandDecoder",
        "BandEncoder",
        "in_bfloat16",
    ),
    "band_start": (
        "Band",
        "BandStart",
        "cosines_of",
        "fisher_gradients",
        "inverse_softplus",
    ),
    "band_transform": ("BandTransform",),
    "frequency_bands": ("BlockCosines",),
}
"""Public names by the module that defines them."""
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
