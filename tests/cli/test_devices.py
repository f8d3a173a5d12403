"""`codecbench device`: a profile is measured, shown and predicted with; mistakes are errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.factories import make_board
from support.paths import RESULTS, TINY
from typer.testing import CliRunner, Result

from codecbench.cli.devices import app
from codecbench.devices.profile import DeviceProfile
from codecbench.errors import UsageError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def a_pi(tmp_path: Path) -> Path:
    path = tmp_path / "a-pi.json"
    path.write_text(make_board(zlib=1e-3).to_text())
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
