"""The fixture `codec_benchmark`, as a plugin author meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.factories import run_pytest

from codecbench import TensorSpec
from codecbench.pytest_plugin import FEATURE_MAP, CodecBenchmark, _choose, _from_the_middle
from codecbench_plugins.raw import Raw

TESTS = """
import pytest, torch, zlib
from codecbench import Codec, TensorSpec, UsageError

class Zlib(Codec):
    '''Deflated.'''
    name = "zlib"
    points = ({"level": 1}, {"level": 5}, {"level": 9})
    def encode(self, x): return zlib.compress(x.numpy().tobytes(), self.level)
    def decode(self, payload): return self.spec.from_buffer(zlib.decompress(payload))

class Fitted(Zlib):
    '''Needs a fit.'''
    name = "fitted"
    fits = 0
    def fit(self, data): type(self).fits += 1
    def encode(self, x):
        assert self.fits == 1
        return super().encode(x)

class Nothing(Zlib):
    '''Takes nothing.'''
    name = "nothing"
    @classmethod
    def skip_reason(cls, spec, **point): return f"not {spec.shape}"

class Absent(Zlib):
    '''Cannot run.'''
    name = "absent"
    @classmethod
    def unavailable(cls): return "needs imagecodecs"

def test_two_lines(codec_benchmark):
    codec_benchmark(Zlib)

def test_real(codec_benchmark):
    spec = TensorSpec((4, 5))
    codec_benchmark(Zlib, spec=spec, x=torch.zeros(4, 5), point={"level": 9}, split="stage1")

def test_fitted(codec_benchmark):
    codec_benchmark(Fitted)

def test_nothing(codec_benchmark):
    codec_benchmark(Nothing)

def test_absent(codec_benchmark):
    codec_benchmark(Absent)

def test_no_spec(codec_benchmark):
    with pytest.raises(UsageError, match="x but no spec"):
        codec_benchmark(Zlib, x=torch.zeros(3))
"""

SHIM = """
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pytest_benchmark" else real(name, *rest)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test_speed.py").write_text(TESTS)
    return tmp_path


def test_each_test_times_encode_and_decode(folder):
    result = folder / "speed.json"
    options = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=1")
    done = run_pytest(folder, "-rs", "-q", "-W", "error::ImportWarning", f"--benchmark-json={result}", *options)
    assert done.returncode == 0, done.stdout
    assert "8 passed, 4 skipped" in done.stdout
    assert "not (17, 24)" in done.stdout
    assert "needs imagecodecs" in done.stdout
    found = {run["name"]: run for run in json.loads(result.read_text())["benchmarks"]}
    real = {step: found[f"test_real[{step}]"] for step in ("encode", "decode")}
    for step, run in real.items():
        assert run["group"] == f"stage1: {step}"
        info = run["extra_info"]
        assert info.pop("throughput_mb_per_s") == pytest.approx(80 / run["stats"]["median"] / 1e6)
        assert info.pop("payload_bytes") < 80
        assert info == {
            "codec": "zlib", "version": 1, "point": {"level": 9}, "split": "stage1", "step": step,
            "spec": {"shape": [4, 5], "dtype": "float32", "image": False, "max_length": None},
        }  # fmt: skip
    assert found["test_two_lines[encode]"]["extra_info"]["point"] == {"level": 5}
    assert found["test_two_lines[encode]"]["extra_info"]["split"] == "(16, 32, 32)"


def test_benchmarks_may_be_disabled():
    class Disabled:
        """What pytest-benchmark gives under --benchmark-disable: it calls once and has no statistics."""

        stats = None

        def __init__(self):
            self.extra_info = {}

        def __call__(self, step, *arguments):
            return step(*arguments)

    disabled = Disabled()
    CodecBenchmark(disabled, "decode")(Raw, spec=TensorSpec((3,)))
    assert disabled.extra_info["payload_bytes"] == 12
    assert "throughput_mb_per_s" not in disabled.extra_info


def test_without_pytest_benchmark_it_says_what_to_install(folder):
    (folder / "shim.py").write_text(SHIM)
    done = run_pytest(folder, "-rs", "-q", "-p", "shim", "-p", "no:benchmark", "-k", "two_lines")
    assert "codec_benchmark needs pytest-benchmark; run: pip install pytest-benchmark" in done.stdout
    assert done.returncode == 1


def test_importing_the_plugin_is_light():
    code = (
        "import sys, codecbench.pytest_plugin; print(sorted({'torch', 'numpy', 'pytest_benchmark'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_middle_point_that_is_taken_comes_first():
    points = tuple({"level": n} for n in range(5))
    assert [p["level"] for p in _from_the_middle(points)] == [2, 1, 3, 0, 4]
    assert _from_the_middle(()) == []


def test_a_feature_map_is_preferred_and_a_given_spec_is_kept():
    assert _choose(Raw, None, None)[0] == FEATURE_MAP
    assert _choose(Raw, TensorSpec((3,)), None)[0] == TensorSpec((3,))
