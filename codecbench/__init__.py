"""A benchmark of the codecs that carry a tensor from a device to an edge server in split inference.

These names are the whole contract of a plugin. Importing them does not import torch.
"""

from codecbench.codec import Codec, FitData, Side, TensorSpec
from codecbench.devices.profile import DeviceProfile
from codecbench.errors import CodecbenchError, DataError, PayloadError, PluginError, UsageError
from codecbench.hookspecs import hookimpl
from codecbench.links.model import BackgroundLink, FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.operating_points import RateKnob, TensorStatistics
from codecbench.registry import manager
from codecbench.workload import Metric, OnnxModel, RatioMetric, SetMetric, Subset, Workload, data_folders

__version__ = "0.1.0"

__all__ = [
    "BackgroundLink", "Codec", "CodecbenchError", "DataError", "DeviceProfile", "FitData", "FixedRateLink", "Link",
    "Metric", "OnnxModel", "PayloadError", "PluginError", "RateKnob", "RatioMetric", "SetMetric", "Side", "Subset",
    "TcpRampLink", "TensorSpec", "TensorStatistics", "TraceLink", "UsageError", "Workload", "data_folders",
    "hookimpl", "manager",
]  # fmt: skip
