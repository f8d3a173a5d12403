"""`codecbench plan` and `validate-plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, put

from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD


def test_a_plan(cli: Cli, tmp_path: Path) -> None:
    for codec, size in (("alpha", 100), ("beta", 5_000)):
        put(tmp_path / "out", codec=codec, payload_bytes=size, workload=DEFAULT_WORKLOAD)
    ended = cli("plan", "--out", "out", "--max-device-ms", "2")
    assert (ended.status, ended.err) == (0, "")
    assert "best       input alpha" in ended.out
    assert "runner-up  input beta" in ended.out
    values = json.loads(cli("plan", "--out", "out", "--max-device-ms", "2", "--json").out)
    assert (values["best"]["row"], values["link"], values["device"], values["rejected"]["device"]) == (
        "alpha", "wifi-450", "host", 1,
    )  # fmt: skip


FIXED_LINK = """
import numpy as np
from codecbench import Link, hookimpl

class Pigeon(Link):
    name, description = "pigeon", "an hour, whatever it carries"
    def seconds(self, payload_bytes):
        return np.full(np.shape(payload_bytes), 3600.0)

@hookimpl
def codecbench_register_links():
    return [Pigeon()]
"""


def test_a_plan_over_a_link_without_a_bandwidth_has_no_sweep(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    (tmp_path / "pigeon.py").write_text(FIXED_LINK)
    ended = cli("plan", "--out", "out", "--link", "pigeon", "--plugin", "pigeon.py")
    assert ended.status == 0
    assert "the choice at other bandwidths is left out: link 'pigeon' has no bandwidth" in ended.out
    assert "best       local" in ended.out
    assert "from each bandwidth on" not in ended.out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--link", "wify-450"], "codecbench: no link 'wify-450'; did you mean 'wifi-450'?"),
        (["--link", "missing.json"], "codecbench: link file missing.json cannot be read: No such file"),
        (["--device", "missing.json"], "codecbench: cannot read the device profile missing.json"),
        (["--budget", "-1"], "codecbench: a budget is an accepted loss of at least 0, not -1"),
        (["--max-latency", "0"], "codecbench: --max-latency is a number of milliseconds over 0, not 0"),
        (["--workload", "cifar"], "codecbench: no workload in these records: 'cifar'"),
        (
            ["--sample-set", "test-9"],
            "codecbench: workload 'cifar10-resnet20' has no records of the sample set 'test-9'",
        ),
    ],
)
def test_a_plan_refuses_in_one_line(cli: Cli, tmp_path: Path, words: list[str], error: str) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    ended = cli("plan", "--out", "out", *words)
    assert ended.status == 2
    assert ended.error.startswith(error)


def test_the_workload_of_a_plan_is_asked_for_only_where_it_is_not_clear(cli: Cli, tmp_path: Path) -> None:
    plan = ["plan", "--out", "out", "--budget", "1"]
    put(tmp_path / "out", workload="toy")
    assert cli(*plan).status == 0
    put(tmp_path / "out", workload="other")
    assert cli(*plan).error == (
        "codecbench: these records are of several workloads, other, toy; choose one with --workload"
    )
    assert cli(*plan, "--workload", "toy").status == 0
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    assert cli(*plan).status == 0


@pytest.mark.parametrize("name", ["validate-plan", "rehearse"])
def test_a_plan_is_validated_under_both_names(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    asked: list[Any] = []

    def validate(config: Any, records: Any, limits: Any, path: Any, requests: int, reporter: Any) -> None:
        asked.append((len(records), limits.budget, path.rate_bit_per_s, path.delay_s, requests))
        raise UsageError("no codec is feasible")

    monkeypatch.setattr("codecbench.harness.requests.plan_validation.validate_plan", validate)
    ended = cli(name, "--out", "out", "--rate", "5Mbit", "--delay-ms", "2", "--budget", "3", "--requests", "7")
    assert (ended.status, ended.out) == (2, "")
    assert asked == [(1, 3.0, 5e6, 0.002, 7)]
    *notice, error = ended.err.splitlines()
    assert error == "codecbench: no codec is feasible"
    assert (
        notice
        == {
            "validate-plan": [],
            "rehearse": [
                "codecbench rehearse is now codecbench validate-plan; the next version removes the old spelling"
            ],
        }[name]
    )


def test_help_and_suggestions_leave_the_old_name_out(cli: Cli) -> None:
    shown = cli("--help").out
    assert "validate-plan" in shown
    assert "rehearse" not in shown
    assert cli("rehears").error == "codecbench: no command 'rehears'; see codecbench --help"


def test_a_plan_without_a_feasible_choice_ends_with_status_1(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    ended = cli("plan", "--out", "out", "--max-latency", "1e-9")
    assert (ended.status, ended.err) == (1, "")
    assert "nothing is feasible" in ended.out
    ended = cli("plan", "--out", "out", "--max-latency", "1e-9", "--json")
    assert ended.status == 1
    assert json.loads(ended.out)


def test_a_rate_without_its_unit_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    ended = cli("validate-plan", "--out", "out", "--rate", "20")
    assert ended.error == "codecbench: '20' is 20 bits a second; write the unit, like 20Mbit, 512kbit or 1.5Gbit"
    for words in (["--delay-ms", "inf"], ["--delay-ms", "nan"], ["--data-dir", "none"]):
        assert cli("validate-plan", "--out", "out", *words).error.startswith(f"codecbench: {words[0]} ")
