"""The hooks that a plugin may implement, and the pluggy markers."""

from __future__ import annotations

from collections.abc import Iterable

from pluggy import HookimplMarker, HookspecMarker

from codecbench.codec import Codec
from codecbench.devices.profile import DeviceProfile
from codecbench.links.model import Link
from codecbench.workload import Workload

hookspec = HookspecMarker("codecbench")
hookimpl = HookimplMarker("codecbench")
"""Marks a function of a plugin as the implementation of the hook of its name."""


@hookspec
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Return the codec classes to benchmark.

    @hookimpl
    def codecbench_register_codecs():
        return [Zlib]
    """
    return ()


@hookspec
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Return workload classes: trained models with their data, metric and split points.

    @hookimpl
    def codecbench_register_workloads():
        return [Cifar10ResNet20]
    """
    return ()


@hookspec
def codecbench_register_links() -> Iterable[Link]:
    """Return links: network models that map payload bytes to seconds.

    @hookimpl
    def codecbench_register_links():
        return [TcpRampLink("my-wifi", round_trip_s=0.005, bandwidth_bit_per_s=50e6)]
    """
    return ()


@hookspec
def codecbench_register_devices() -> Iterable[DeviceProfile]:
    """Return device profiles, which predict the time of a model's layers and of plain code.

    @hookimpl
    def codecbench_register_devices():
        return [DeviceProfile.load(Path(__file__).with_name("my-pi.json"))]
    """
    return ()
