"""A codec of ordinary PyTorch, `torch.optim` included, passes the kit and a run: the seal lets its fit work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import PLAIN_TORCH, TINY
from support.runs import KeptProcesses, execute

from codecbench.experiment.config import RunConfig
from codecbench.results.store import Store

CHECK = """
import sys
from codecbench import TensorSpec
from codecbench.registry import load_file
from codecbench.testing import run_checks
(codec,) = load_file(sys.argv[1]).codecbench_register_codecs()
outcomes = run_checks([codec], specs=[TensorSpec((4, 8, 8))])
print(*(outcome.line() for outcome in outcomes if outcome.status == "failed"), sep="\\n")
print(sum(outcome.status == "passed" for outcome in outcomes), "passed")
"""


def test_it_passes_the_kit() -> None:
    # A process of its own: where another test had used an optimiser before, nothing would be left to import.
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(PLAIN_TORCH)], capture_output=True, text=True, timeout=300, check=True
    )
    failed, _, passed = done.stdout.strip().rpartition("\n")
    assert failed == ""
    assert int(passed.split()[0]) >= 15


def test_it_passes_a_run_without_its_tag_too(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag `learned` has the optimisers imported before the fit's time begins; without it, the fit imports them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = PLAIN_TORCH.read_text()
    untagged = tmp_path / "untagged.py"
    untagged.write_text(source.replace('tags = frozenset({"learned"})', "tags = frozenset()"))
    assert untagged.read_text() != source
    config = RunConfig(
        workload="tiny", samples=8, split=["stem"], codec=["plain-torch"], out=tmp_path / "out",
        plugin=[TINY, untagged],
    )  # fmt: skip
    summary, _ = execute(config)
    (record,) = Store(tmp_path / "out").records()
    assert (summary.failures, record.status, record.reason) == ([], "ok", None)
    assert record.time is not None
    assert record.time.fit_s is not None
