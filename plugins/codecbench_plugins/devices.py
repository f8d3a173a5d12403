"""Device profiles that come with codecbench: one measured, and four scaled from it for other classes of machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codecbench import DeviceProfile, hookimpl

MEASURED = Path(__file__).parent / "devices" / "epyc-core.json"

CLOCK_GHZ = 3.5
"""The boost clock of a third-generation AMD EPYC (7763), assumed to be the model of the measured core."""


@dataclass(frozen=True)
class DeviceClass:
    """A class of machines.

    A core attains the share `attained` of its arithmetic peak, and `bandwidth_share` of the memory's bandwidth.
    `general` and `overhead` are factors on the measured core's time for plain code and for a call.
    """

    name: str
    description: str
    source: str
    peak_gflop_s: float
    memory_gbyte_s: float
    attained: float
    bandwidth_share: float
    general: float
    overhead: float

    def profile(self, base: DeviceProfile) -> DeviceProfile:
        """Return the measured profile, scaled to this class."""
        return base.scaled(
            self.name, description=self.description, source=self.source,
            compute=base.machine["matmul_gflop_s"] / (self.peak_gflop_s * self.attained),
            memory=base.machine["copy_gbyte_s"] / (self.memory_gbyte_s * self.bandwidth_share),
            overhead=self.overhead, general=self.general,
        )  # fmt: skip


CORE = (
    "Assumptions: one core attains 80 % of its arithmetic peak and half of the memory's bandwidth; plain code and the "
    "cost of a call scale with the clock and with {ipc} of the work a cycle of the measured core."
)


def _slowdown(clock_ghz: float, work_a_cycle: float) -> float:
    """Return the factor by which plain code is slower than on the measured core."""
    return CLOCK_GHZ / (clock_ghz * work_a_cycle)


DEVICE_CLASSES = (
    DeviceClass(
        "raspberry-pi-4", "One core of a Raspberry Pi 4 class device, scaled from epyc-core: predictions",
        "Arm Cortex-A72 at 1.8 GHz, 8 float32 operations a cycle (one 128-bit multiply-add): 14.4 GFLOP/s a core; "
        "32-bit LPDDR4-3200: 12.8 GB/s. " + CORE.format(ipc="four tenths"),
        peak_gflop_s=14.4, memory_gbyte_s=12.8, attained=0.8, bandwidth_share=0.5, general=_slowdown(1.8, 0.4),
        overhead=_slowdown(1.8, 0.4),
    ),
    DeviceClass(
        "raspberry-pi-5", "One core of a Raspberry Pi 5 class device, scaled from epyc-core: predictions",
        "Arm Cortex-A76 at 2.4 GHz, 16 float32 operations a cycle (two 128-bit multiply-adds): 38.4 GFLOP/s a core; "
        "32-bit LPDDR4X-4267: 17.1 GB/s. " + CORE.format(ipc="seven tenths"),
        peak_gflop_s=38.4, memory_gbyte_s=17.1, attained=0.8, bandwidth_share=0.5, general=_slowdown(2.4, 0.7),
        overhead=_slowdown(2.4, 0.7),
    ),
    DeviceClass(
        "phone", "One large core of a mid-range phone class device, scaled from epyc-core: predictions",
        "Arm Cortex-A78 at 2.4 GHz, 16 float32 operations a cycle (two 128-bit multiply-adds): 38.4 GFLOP/s a core; "
        "64-bit LPDDR4X-4267: 34.1 GB/s. " + CORE.format(ipc="nine tenths"),
        peak_gflop_s=38.4, memory_gbyte_s=34.1, attained=0.8, bandwidth_share=0.5, general=_slowdown(2.4, 0.9),
        overhead=_slowdown(2.4, 0.9),
    ),
    DeviceClass(
        "gpu-edge", "An edge server with an NVIDIA T4 class GPU, scaled from epyc-core: predictions",
        "NVIDIA T4 data sheet: 8.1 TFLOP/s in float32, 300 GB/s. Assumptions: a layer of one sample attains a tenth of "
        "the peak and half of the bandwidth; a call and plain code cost what they cost on the measured core.",
        peak_gflop_s=8100.0, memory_gbyte_s=300.0, attained=0.1, bandwidth_share=0.5, general=1.0, overhead=1.0,
    ),
)  # fmt: skip


@hookimpl
def codecbench_register_devices() -> Iterable[DeviceProfile]:
    """Return the measured profile and those scaled from it."""
    base = DeviceProfile.load(MEASURED)
    return [base, *(kind.profile(base) for kind in DEVICE_CLASSES)]
