"""What a measurement draws and gives, and the commands around it. How long things take is never asserted here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.paths import RESULTS, TINY
from typer.testing import CliRunner, Result

from codecbench.cli.devices import app
from codecbench.devices import cases as device_cases
from codecbench.devices import timing as device_measure
from codecbench.devices.cases import LayerCase
from codecbench.devices.profile import DeviceProfile, Leaf
from codecbench.devices.timing import measure_block
from codecbench.errors import UsageError
from codecbench.harness.device_profile import general_factor, measure_profile

LEAF = Leaf({"per_layer": 1e-5, "per_flop": 1e-10})


def profile(name: str = "a-pi", **kernels_s: float) -> DeviceProfile:
    return DeviceProfile(name, "a board", "a test", "measured", LEAF, 2.0, general_kernels_s=kernels_s)


def drawn(block: int) -> list[LayerCase]:
    with torch.inference_mode():
        return list(device_cases.draw(0, block))


@pytest.mark.parametrize("kind", list(device_cases.KINDS))
def test_each_kind_that_is_drawn_runs_and_is_named(kind: str) -> None:
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        layers = [device_cases.DRAW[kind](rng).layer() for _ in range(3)]
    expected = {"conv": "conv2d", "depthwise": "conv2d"}.get(kind, kind)
    assert {layer.kind for layer in layers} == {expected}
    assert all(layer.flop <= 2 * device_cases.MAX_FLOP for layer in layers)
    assert all(layer.out_elements > 0 for layer in layers)


def test_every_kind_is_among_what_is_drawn() -> None:
    assert set(device_cases.KINDS) == set(device_cases.DRAW)


def test_a_block_is_always_the_same_and_blocks_differ() -> None:
    def described(block: int) -> list[str]:
        return [f"{case.target} {case.shapes}" for case in drawn(block) if isinstance(case.target, torch.nn.Module)]

    assert described(1) == described(1)
    assert described(1) != described(2)


def test_what_branches_on_values_never_meets_the_same_ones_twice() -> None:
    met: list[torch.Tensor] = []
    for branches in (True, False):
        case = LayerCase(lambda x: met.append(x.clone()), (1, 3, 4, 4), branches=branches)
        for _ in range(2):
            case.prepare()
            case.run()
    assert not torch.equal(met[0], met[1])
    assert torch.equal(met[2], met[3])
    assert device_cases.DRAW["max_pool"](np.random.default_rng(0)).branches


def test_a_block_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_cases, "BLOCK", 5)
    monkeypatch.setattr(device_measure, "ROUNDS", 2)
    found = measure_block(0, 3)
    assert len(found) == 5
    assert all(seconds > 0 for _, seconds in found)


def test_plain_code_is_compared_by_the_mean_of_its_ratios() -> None:
    reference = profile(zlib=1.0, jpeg=2.0, other=9.0)
    assert general_factor({"zlib": 4.0, "jpeg": 2.0}, reference) == pytest.approx(2.0 * 2.0)
    assert general_factor({"zlib": 4.0}, None) == 1.0
    assert general_factor({"new": 4.0}, reference) == 2.0


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), 1e9])
def test_a_time_out_of_bounds_is_an_error(minutes: float) -> None:
    with pytest.raises(UsageError, match="--minutes"):
        measure_profile("a", minutes=minutes)


# --- the commands ---------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def a_pi(tmp_path: Path) -> Path:
    path = tmp_path / "a-pi.json"
    path.write_text(profile(zlib=1e-3).to_text())
    return path


def test_measure_writes_a_profile_that_predict_uses(tmp_path: Path, a_pi: Path) -> None:
    out = tmp_path / "mine.json"
    done = run("measure", "--out", str(out), "--minutes", "0.05", "--reference", str(a_pi))
    assert done.exit_code == 0, done.output
    found = DeviceProfile.load(out)
    assert (found.name, found.kind) == ("mine", "measured")
    assert found.machine["layers"] >= 60
    assert found.machine["matmul_gflop_s"] > 0
    assert "relative errors" in done.output
    done = run(
        "predict", "--device", str(out), "--workload", "tiny", "--plugin", str(TINY), "--out",
        str(tmp_path / "none"), "--json",
    )  # fmt: skip
    rows = {row["split"]: row for row in json.loads(done.stdout)}
    assert {"input", "stem", "block"} <= set(rows)
    assert rows["input"]["head_ms_predicted"] == 0
    assert rows["input"]["head_ms_host"] is None
    assert 0 < rows["stem"]["head_ms_predicted"] < rows["block"]["head_ms_predicted"]
    assert rows["stem"]["tail_ms_predicted"] > rows["block"]["tail_ms_predicted"]


def test_predict_shows_what_the_records_measured(a_pi: Path) -> None:
    results = RESULTS
    done = run("predict", "--device", str(a_pi), "--out", str(results), "--json")
    assert done.exit_code == 0, done.output
    rows = {row["split"]: row for row in json.loads(done.stdout)}
    assert rows["stage3"]["head_ms_host"] > rows["stem"]["head_ms_host"] > 0
    assert "host" in run("predict", "--device", str(a_pi), "--out", str(results)).output


def test_show_and_list(a_pi: Path) -> None:
    shown = run("show", str(a_pi)).stdout
    assert shown.startswith("a-pi: a board\n")
    assert "10 us per layer" in shown
    assert json.loads(run("show", str(a_pi), "--json").stdout)["name"] == "a-pi"
    listed = json.loads(run("list", "--json").stdout)
    assert {"epyc-core", "raspberry-pi-5"} <= {row["name"] for row in listed}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "host"], "host stands for times as measured"),
        (["show", "no-such.json"], "cannot read the device profile no-such.json"),
        (["measure", "--out", "pi.txt"], "give FILE.json"),
        (["measure", "--out", "host.json"], "not 'host'"),
        (["measure", "--out", "no/such/folder/pi.json"], "no folder"),
        (["predict", "--device", "epyc-cor"], "no device 'epyc-cor'"),
    ],
)
def test_mistakes_are_usage_errors(arguments: list[str], expected: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, UsageError)
    assert expected in str(done.exception)
