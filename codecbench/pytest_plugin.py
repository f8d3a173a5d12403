"""The fixture `codec_benchmark`: pytest-benchmark for codecs (entry point `pytest11`).

A plugin author times encode and decode in two lines:

    def test_speed(codec_benchmark):
        codec_benchmark(MyCodec)

and compares the times with `pytest --benchmark-only`. Importing this module imports neither torch nor a codec. Without
pytest-benchmark the fixture raises a UsageError that names the package to install.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import pytest

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Step = Literal["encode", "decode"]


class CodecBenchmark:
    """Times one step of a codec on one thread, and adds payload size and throughput to the result.

    `extra_info` of the result holds codec, version, point, spec, split, step, payload_bytes and throughput_mb_per_s
    (10^6 uncompressed bytes a second, at the median time). Results are grouped by split and step.
    """

    def __init__(self, benchmark: Any, step: Step) -> None:
        self._benchmark = benchmark
        self.step = step

    def __call__(
        self,
        codec: type[Codec],
        *,
        spec: TensorSpec | None = None,
        point: Mapping[str, Any] | None = None,
        x: Tensor | None = None,
        split: str | None = None,
    ) -> None:
        """Time the step on `x`, or on a synthetic sample of `spec`.

        `spec` defaults to FEATURE_MAP if the codec takes it, else to the first of the kit's specs that it takes;
        `point` to the middle one; `split` names the group and defaults to the spec. A point that needs a fit is fitted
        on synthetic data first, untimed. Skips the test with the codec's own skip reason. Raises UsageError for `x`
        without a spec.
        """
        from codecbench.kit.cases import KitCase
        from codecbench.kit.samples import samples, spec_label
        from codecbench.measure import torch_threads

        if x is not None and spec is None:
            raise UsageError("codec_benchmark was given x but no spec; give both")
        missing = codec.unavailable()
        if missing:
            pytest.skip(missing)
        spec, point = _choose(codec, spec, point)
        case = KitCase(codec, spec, point)
        sample = samples(spec, 1)[0] if x is None else x
        device, edge = case.side("device"), case.side("edge")
        payload = device.encode(sample)
        split = split or spec_label(spec)
        self._benchmark.group = f"{split}: {self.step}"
        self._benchmark.extra_info.update(
            codec=codec.name, version=codec.version, point=dict(point), spec=spec.to_json(), split=split,
            step=self.step, payload_bytes=len(payload),
        )  # fmt: skip
        with torch_threads(1):
            if self.step == "encode":
                self._benchmark(device.encode, sample)
            else:
                self._benchmark(edge.decode, payload)
        self._note_throughput(sample.nbytes)

    def _note_throughput(self, tensor_bytes: int) -> None:
        stats = self._benchmark.stats
        if stats is not None:  # None under --benchmark-disable, which calls once and times nothing
            self._benchmark.extra_info["throughput_mb_per_s"] = tensor_bytes / stats.stats.median / 1e6


FEATURE_MAP = TensorSpec((16, 32, 32))
"""The default spec: 64 KiB, the size of a small network's early features."""


def _choose(
    codec: type[Codec], spec: TensorSpec | None, point: Mapping[str, Any] | None
) -> tuple[TensorSpec, Mapping[str, Any]]:
    """Return the spec and point to time. Skips the test with the codec's last reason if it takes none."""
    from codecbench.kit.samples import DEFAULT_SPECS

    reason: str | None = None
    for candidate in (spec,) if spec else (FEATURE_MAP, *DEFAULT_SPECS):
        points = [point] if point is not None else _from_the_middle(codec.points_for(candidate))
        for chosen in points:
            reason = codec.skip_reason(candidate, **chosen)
            if reason is None:
                return candidate, chosen
    pytest.skip(reason or f"{codec.name} has no point for this tensor")


def _from_the_middle(points: tuple[Mapping[str, Any], ...]) -> list[Mapping[str, Any]]:
    """Return the points in order of their distance from the middle one."""
    middle = len(points) // 2
    return [points[i] for i in sorted(range(len(points)), key=lambda i: abs(i - middle))]


if find_spec("pytest_benchmark"):

    @pytest.fixture(params=["encode", "decode"])
    def codec_benchmark(request: pytest.FixtureRequest, benchmark: Any) -> CodecBenchmark:
        """Return the callable that times a codec: `codec_benchmark(MyCodec)`. A test runs for encode and for decode."""
        return CodecBenchmark(benchmark, request.param)

else:

    @pytest.fixture
    def codec_benchmark() -> CodecBenchmark:
        """Raise UsageError: pytest-benchmark is not installed."""
        raise UsageError("codec_benchmark needs pytest-benchmark; run: pip install pytest-benchmark")
