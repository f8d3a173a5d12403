"""The provenance of a record: machine, software and commit, without names of users or hosts."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from support.paths import TINY
from support.runs import KeptProcesses, RecordingReporter, configured

from codecbench import measure
from codecbench.cli.main import main
from codecbench.errors import UsageError
from codecbench.experiment.cells import Summary
from codecbench.experiment.config import RunConfig
from codecbench.harness import provenance
from codecbench.harness.run import Run


def test_the_machine_is_described_without_naming_it() -> None:
    machine = provenance.machine()
    assert set(machine) == {"python", "packages", "cpu", "cores", "os"}
    assert {"numpy", "torch"} <= set(machine["packages"])
    assert machine["cores"] == measure.cores() >= 1
    assert measure.memory_bytes() > 1 << 20
    text = str(machine)
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text


def test_the_commit_is_that_of_this_checkout_or_none() -> None:
    commit, dirty = provenance.git_state()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}", commit)
    assert (commit is None) == (dirty is None)


WORDS = """
from codecbench import Codec, hookimpl

class Words(Codec):
    name = "words"
    points = (
        {"mode": "1", "window": "a", "step": 0.1, "fast": True, "offset": -3},
        {"mode": "true", "window": "a,b", "step": 1e-7, "fast": False, "offset": 0},
        {"mode": "1e1", "window": "two words", "step": 2.0, "fast": True, "offset": 10**20},
        {"mode": "it's $HOME", "window": "x=y", "step": 0.5, "fast": False, "offset": 1},
        {"mode": '"q"', "window": "é\\n", "step": 0.5, "fast": False, "offset": 1},
        {"mode": "", "window": " ", "step": 0.5, "fast": False, "offset": 1},
    )
    def encode(self, x): return x.numpy().tobytes()
    def decode(self, payload): return self.spec.from_buffer(payload)

@hookimpl
def codecbench_register_codecs(): return [Words]
"""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "full", "samples": 50, "seed": 7, "timeout_s": 60.5, "max_fit_s": 30},
        {"samples": "all", "data_dir": "my data"},
    ],
)
def test_the_recorded_command_makes_the_same_cell_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: KeptProcesses, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my words.py").write_text(WORDS)
    shutil.copy(TINY, tmp_path / "tiny.py")
    (tmp_path / "my data").mkdir()
    plugins = [tmp_path / "tiny.py", tmp_path / "my words.py"]
    configuration = {"samples": 64, "split": ["stem"], "codec": ["raw", "words"], "workload": "tiny", **options}
    found: list[str] = []

    def note(job: Run) -> Summary:
        found.extend(cell.key.cell for cell in job.plan())
        raise UsageError("planned")

    with Run(RunConfig.model_validate({**configuration, "plugin": plugins}), RecordingReporter()) as job:
        commands = {cell.key.cell: job.provenance.of(cell, job.isolation).command for cell in job.plan()}
    assert len(commands) > 3
    monkeypatch.setattr(Run, "execute", note)
    for command in commands.values():
        program, *words = shlex.split(command)
        assert program == "codecbench"
        with pytest.raises(UsageError, match="planned"):
            main([*words, "--debug"])
    assert found == list(commands)


def test_the_command_names_what_numbers_depend_on_and_no_folder(tmp_path: Path, shared: KeptProcesses) -> None:
    config = configured(tmp_path, "steady:bits=16", timeout_s=9.5, max_fit_s=3, scratch_gb=1, seed=2)
    with Run(config, RecordingReporter()) as job:
        (cell,) = job.plan()
        command = job.provenance.of(cell, job.isolation).command
    assert command == (
        "codecbench run --workload tiny --codec steady:bits=16 --split stem --preset quick --samples 64 --seed 2 "
        "--plugin tiny.py --plugin misbehaving.py --timeout-s 9.5 --max-fit-s 3.0"
    )


def test_files_of_one_name_are_told_apart() -> None:
    files = [Path("/a/x/mine.py"), Path("/a/y/mine.py"), Path("/b/y/mine.py"), Path("/b/other.py")]
    assert provenance.names_of(files) == ["x/mine.py", "a/y/mine.py", "b/y/mine.py", "other.py"]
