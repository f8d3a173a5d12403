"""Networks, training and exact integer transforms for learned codecs.

Names are imported when they are first used, since most need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecbench.toolbox.learning.batches import as_tensors
    from codecbench.toolbox.learning.geometry import Geometry, geometry_of
    from codecbench.toolbox.learning.integer_transform import IntegerTransform
    from codecbench.toolbox.learning.objective import Network, RateTaskObjective, TaskObjective
    from codecbench.toolbox.learning.rates import ScaleContext, laplace_bits, quantise_dead_zone, straight_through
    from codecbench.toolbox.learning.start import MatrixEncoder, Start
    from codecbench.toolbox.learning.state import State, bytes_tensor, halved, load_halved, tensor_bytes, tiling_to_json
    from codecbench.toolbox.learning.steering import Steering, mean_of_looks, steered
    from codecbench.toolbox.learning.synthesis import SynthesisNetwork
    from codecbench.toolbox.learning.tail_copy import TailCopy
    from codecbench.toolbox.learning.teacher import TailOutput, Teacher
    from codecbench.toolbox.learning.trainer import Objective, Schedule, ValidationResult, train

__all__ = [
    "Geometry",
    "IntegerTransform",
    "MatrixEncoder",
    "Network",
    "Objective",
    "RateTaskObjective",
    "ScaleContext",
    "Schedule",
    "Start",
    "State",
    "Steering",
    "SynthesisNetwork",
    "TailCopy",
    "TailOutput",
    "TaskObjective",
    "Teacher",
    "ValidationResult",
    "as_tensors",
    "bytes_tensor",
    "geometry_of",
    "halved",
    "laplace_bits",
    "load_halved",
    "mean_of_looks",
    "quantise_dead_zone",
    "steered",
    "straight_through",
    "tensor_bytes",
    "tiling_to_json",
    "train",
]

_NAMES = {
    "batches": ("as_tensors",),
    "geometry": (
        "Geometry",
        "geometry_of",
    ),
    "integer_transform": ("IntegerTransform",),
    "objective": (
        "Network",
        "RateTaskObjective",
        "TaskObjective",
    ),
    "rates": (
        "ScaleContext",
        "laplace_bits",
        "quantise_dead_zone",
        "straight_through",
    ),
    "start": (
        "MatrixEncoder",
        "Start",
    ),
    "state": (
        "State",
        "bytes_tensor",
        "halved",
        "load_halved",
        "tensor_bytes",
        "tiling_to_json",
    ),
    "steering": (
        "Steering",
        "mean_of_looks",
        "steered",
    ),
    "synthesis": ("SynthesisNetwork",),
    "tail_copy": ("TailCopy",),
    "teacher": (
        "TailOutput",
        "Teacher",
    ),
    "trainer": (
        "Objective",
        "Schedule",
        "ValidationResult",
        "train",
    ),
}
"""Public names by the module that defines them."""
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
