"""A benchmark of the codecs that carry a tensor from a device to an edge server in split inference.

These names are the whole contract of a plugin, and `load`, `run` and `Results` the way to use codecbench from Python.
Importing them does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from codecbench.codec import Codec, FitData, Side, TensorSpec
from codecbench.devices.profile import DeviceProfile
from codecbench.errors import CodecbenchError, DataError, PayloadError, PluginError, UsageError
from codecbench.hookspecs import hookimpl
from codecbench.links.model import BackgroundLink, FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.operating_points import RateKnob, TensorStatistics
from codecbench.registry import manager
from codecbench.workload import Metric, OnnxModel, RatioMetric, SetMetric, Subset, Workload, data_folders

if TYPE_CHECKING:
    from codecbench.api import Results, load, run

__version__ = "0.1.0"

__all__ = [
    "BackgroundLink", "Codec", "CodecbenchError", "DataError", "DeviceProfile", "FitData", "FixedRateLink", "Link",
    "Metric", "OnnxModel", "PayloadError", "PluginError", "RateKnob", "RatioMetric", "Results", "SetMetric", "Side",
    "Subset", "TcpRampLink", "TensorSpec", "TensorStatistics", "TraceLink", "UsageError", "Workload", "data_folders",
    "hookimpl", "load", "manager", "run",
]  # fmt: skip

_API = frozenset({"Results", "load", "run"})
"""Names that are imported when they are first used: plugins need none of them."""


def __getattr__(name: str) -> Any:
    """A name of `codecbench.api` (PEP 562)."""
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("codecbench.api"), name)
