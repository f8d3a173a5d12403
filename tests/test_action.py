"""The GitHub action for authors of codecs: its steps, run as they stand in action.yml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import search_path
from support.paths import ROOT

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
INSTALL, CHECK, MEASURE, SHOW, COMPARE = STEPS
INPUT = re.compile(r"\$\{\{ inputs\.([a-z]+) \}\}")

PLUGIN = '''
import numpy as np
from codecbench import Codec, hookimpl


class Half(Codec):
    """float16."""

    name, version = "half", 1

    def encode(self, x):
        return np.clip(x.numpy(), -65504, 65504).astype(np.float16).tobytes()

    def decode(self, payload):
        return self.spec.from_buffer(np.frombuffer(payload, np.float16).astype(np.float32).tobytes())


@hookimpl
def codecbench_register_codecs():
    return [Half]
'''

RunStep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_step(tmp_path: Path) -> RunStep:
    """Runs the script of a step in an empty folder, with inputs by name and the others' defaults."""
    path = search_path(tmp_path)
    work = tmp_path / "work"
    work.mkdir()

    def run(name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        values = {key: str(each.get("default", "")) for key, each in ACTION["inputs"].items()} | inputs
        own = {key: values[INPUT.fullmatch(text)[1]] for key, text in STEPS[name].get("env", {}).items()}
        environment = {
            "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
            "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), **own,
        }  # fmt: skip
        return subprocess.run(  # as GitHub runs `shell: bash`
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]], cwd=work, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_inputs_reach_scripts_as_environment_only() -> None:
    used = set()
    for step in STEPS.values():
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
        for text in step.get("env", {}).values():
            used.add(INPUT.fullmatch(text)[1])
    assert used == set(ACTION["inputs"])


def test_every_input_is_described() -> None:
    for each in ACTION["inputs"].values():
        assert each["description"].endswith(".")
        assert each.get("required") or isinstance(each["default"], str)


def test_codecbench_is_installed_from_the_action(tmp_path: Path, run_step: RunStep) -> None:
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    done = run_step(INSTALL)
    assert done.stdout.splitlines() == ["-m", "pip", "install", "-c", f"{ROOT}/constraints.txt", str(ROOT)]
    assert (ROOT / "constraints.txt").is_file()


def test_a_codec_is_checked_measured_and_compared(tmp_path: Path, run_step: RunStep) -> None:
    work, summary = tmp_path / "work", tmp_path / "summary.md"
    (work / "half codec.py").write_text(PLUGIN)
    inputs = {"plugin": "half codec.py", "codecs": "half\nraw\n", "splits": "stage3", "samples": "4", "out": "new"}
    checked = run_step(CHECK, **inputs)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
    measured = run_step(MEASURE, **inputs)
    assert measured.returncode == 0, measured.stderr
    assert "2 measured, 0 skipped, 0 failed" in measured.stderr
    assert run_step(SHOW, **inputs).returncode == 0
    assert "| half" in summary.read_text()
    alone = run_step(COMPARE, **inputs, before="before")
    assert (alone.returncode, alone.stdout) == (0, "no earlier results to compare with\n")
    shutil.copytree(work / "new", work / "before")
    before = summary.read_text()
    compared = run_step(COMPARE, **inputs, before="before")
    assert compared.returncode == 0, compared.stderr
    assert "half" in summary.read_text().removeprefix(before)


def test_a_codec_that_fails_its_checks_fails_the_action(tmp_path: Path, run_step: RunStep) -> None:
    (tmp_path / "work" / "bad.py").write_text(PLUGIN.replace("return np.clip", "return b'' and np.clip"))
    done = run_step(CHECK, plugin="bad.py")
    assert done.returncode == 1
    assert "check_decode_gives_tensor: the codec raised PayloadError" in done.stdout


HOSTILE = ("$(touch made)", '"; touch made; "', "`touch made`", "--help", "-x\n; touch made")


@pytest.mark.parametrize("name", [CHECK, MEASURE, SHOW, COMPARE])
def test_no_input_is_run_as_code(tmp_path: Path, run_step: RunStep, name: str) -> None:
    program = tmp_path / "bin" / "codecbench"
    program.write_text("#!/bin/sh\nexit 3\n")
    work = tmp_path / "work"
    for hostile in HOSTILE:
        (work / hostile).mkdir()
        done = run_step(name, **dict.fromkeys(ACTION["inputs"], hostile))
        assert (done.returncode, sorted(each.name for each in work.iterdir())) == (_expected(name), [hostile])
        (work / hostile).rmdir()


def _expected(name: str) -> int:
    return 2 if name == CHECK else 3
