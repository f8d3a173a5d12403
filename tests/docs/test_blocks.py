"""Every code block of the pages: it is run here or by the test of its page, comes from the source, or says why not.

Some commands stop short here. `codecbench run` is planned and not measured (`--dry-run`, with a stand-in for the
model): the tutorial and the guides in CARRIED_OUT measure. `codecbench check` finds its codecs and calls no check:
test_pages.py checks the codecs that pages end with. `codecbench report` and `leaderboard` draw no figures, which
the page on figures does.
"""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.blocks import Block, blocks, commands
from support.cli import Cli, FakePair
from support.page_folder import fill
from support.paths import DOCS, ROOT
from support.runs import LocalPluginCatalogue

import codecbench
from codecbench import TensorSpec
from codecbench.experiment.config import load
from codecbench.kit.runner import Outcome
from codecbench.workers.pair import WorkloadRef

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
PAGES += sorted((ROOT / "datasets").rglob("README.md"))
BY_NAME = {page.relative_to(ROOT).as_posix(): page for page in PAGES if blocks(page.read_text())}

CARRIED_OUT = {
    "docs/tutorial/first-codec.md": "test_tutorial.py",
    "docs/guides/your-model.md": "test_your_model.py",
    "docs/guides/more-machines.md": "test_more_machines.py",
    "docs/guides/python.md": "test_python.py",
}
"""Pages whose files, sessions and Python are run by a test of their own, with what it prints. Its indented blocks and
those in `sh` are run here."""

NOT_RUN = {
    "python3 -m venv": "installs; .ci/run does it",
    ". .venv/bin/activate": "writes a hook of git",
    "pip install": "installs",
    "apt-get": "installs",
    "npm": "fetches",
    "AXE_CORE=": "is what runs this test, with a file that is fetched",
    "pytest": "is what runs this test",
    "python -m codecbench_datasets.": "packs or trains on a data set that does not ship",
    "(cd tests && python -m support.device_bar)": "measures for minutes",
    "dask": "needs a cluster",
    "srun": "needs a cluster",
    "codecbench run --preset full --executor": "needs a cluster; tests/executors has small ones",
    "codecbench run --preset full --measure": "needs a cluster; tests/executors has small ones",
    "ip ": "changes the network of the machine",
    "tc ": "changes the network of the machine",
    "codecbench data get": "takes archives that do not ship; tests/datasets has made-up ones",
    "codecbench run --workload": "needs a data set that does not ship",
    "codecbench run --model": "needs a model that does not ship; docs/guides/your-model.md has one that is run",
    "codecbench run --torch-device cuda": "needs a GPU",
    "codecbench fit": "trains for minutes; tests/fitting and tests/cli/test_run.py fit small codecs",
    "codecbench verify alice-my-codec --encode": "runs codecs and the model again; tests/verification does so",
    "codecbench verify before --encode": "runs codecs and the model again; tests/verification does so",
    "codecbench check my-codec": "needs an installed codec of this name; files are checked here",
    "codecbench check my_workload.py": "docs/guides/your-model.md does so",
    "codecbench check --workload": "docs/guides/your-model.md checks another",
    "codecbench check --model": "docs/guides/your-model.md does so",
    "codecbench device measure": "takes minutes; tests/cli/test_devices.py measures for less",
    "codecbench link serve": "serves until it is stopped; tests/cli/test_links.py stops it",
    "codecbench link relay": "serves until it is stopped; tests/cli/test_links.py stops it",
    "codecbench link probe": "needs a server; tests/cli/test_links.py has one",
    "codecbench validate-plan": "sends a model's requests for minutes; tests/cli/test_plan.py has a stand-in",
}  # fmt: skip
"""Why commands that begin like this are not run by this test."""


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run, or None if it is."""
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def is_run_elsewhere(page: str, block: Block) -> bool:
    return page in CARRIED_OUT and block.language != "sh"


SHORTER = {"run": "--dry-run", "report": "--no-figures", "leaderboard": "--no-figures"}
"""The option with which a command takes less time."""


class PlannedPair(FakePair):
    """Stands in for the default workload's processes where only a plan is made."""

    def __init__(self, workload: WorkloadRef) -> None:
        super().__init__(workload)
        shapes = {"input": (3, 32, 32), "stem": (16, 32, 32), "stage1": (16, 32, 32), "stage2": (32, 16, 16)}
        shapes["stage3"] = (64, 8, 8)
        self.cuts = {name: TensorSpec(shape, image=name == "input") for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a page, which is the current one; runs are planned without processes, checks are not called."""
    monkeypatch.setattr("codecbench.harness.run.Pair", PlannedPair)
    monkeypatch.setattr("codecbench.harness.run.PluginCatalogue", LocalPluginCatalogue)
    monkeypatch.setattr(
        "codecbench.testing.run_checks", lambda codecs, **_: [Outcome(c.name, "", "passed") for c in codecs]
    )
    monkeypatch.syspath_prepend(tmp_path)
    fill(tmp_path)
    return tmp_path


def names_for(page: str, folder: Path) -> dict[str, Any]:
    """The names that the Python of a page may use without an import."""
    if page == "docs/reference/kit.md":  # its second example goes on from its first
        return {"__name__": "example"}
    if page == "docs/reference/hooks.md":  # its examples are those of docstrings, of a module that imports these
        known = {name: getattr(codecbench, name) for name in ("hookimpl", "TcpRampLink", "DeviceProfile")}
        return {**known, "Zlib": object, "Cifar10ResNet20": object, "Path": Path, "__file__": str(folder / "plugin.py")}
    return {"__name__": "example"}


def run_command(command: str, cli: Cli) -> None:
    """Run a line of a shell. Only codecbench is known; other programs are left to a shell."""
    if not command.startswith("codecbench "):
        subprocess.run(command, shell=True, check=True, timeout=60)
        return
    _, *words = shlex.split(command, comments=True)
    ended = cli(*words, *filter(None, [SHORTER.get(words[0])]))
    assert ended.status == 0, f"{command}\n{ended.err}"


def run_block(block: Block, names: dict[str, Any], cli: Cli) -> None:
    """Write the file that a block is, or run it."""
    if block.name:
        Path(block.name).write_text(block.text)
    if block.language == "toml":
        path = Path(block.name or "unnamed.toml")
        path.write_text(block.text)
        if "project" not in tomllib.loads(block.text):
            load(path, {})
    elif block.language == "python" and not block.name:
        before = set(names)
        exec(compile(block.text, f"line {block.line}", "exec"), names)
        for name in set(names) - before:
            if name.startswith("codecbench_register_"):
                assert len(names.pop(name)()) == 1
    elif block.language == "sh":
        for command in commands(block):
            if reason_not_to_run(command) is None:
                run_command(command, cli)


@pytest.mark.parametrize("page", BY_NAME)
def test_blocks_run(page: str, folder: Path, cli: Cli) -> None:
    names = names_for(page, folder)
    for block in blocks(BY_NAME[page].read_text()):
        of_hooks = page == "docs/reference/hooks.md"
        if not is_run_elsewhere(page, block) and (of_hooks or not block.generated):
            run_block(block, names, cli)


@pytest.mark.parametrize("page", BY_NAME)
def test_every_block_says_what_it_is(page: str) -> None:
    known = {"python", "toml", "sh", "text", "yaml"} | ({"console"} if page in CARRIED_OUT else set())
    assert [block for block in blocks(BY_NAME[page].read_text()) if block.language not in known] == []


def test_pages_that_are_carried_out_are_in_their_tests() -> None:
    for page, test in CARRIED_OUT.items():
        assert f'"{Path(page).name}"' in (ROOT / "tests" / "docs" / test).read_text()
        assert page in BY_NAME


def test_every_reason_is_that_of_a_command() -> None:
    shown = [
        command
        for page in BY_NAME.values()
        for block in blocks(page.read_text())
        if block.language == "sh"
        for command in commands(block)
    ]
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in shown)] == []


def test_a_wrong_block_would_be_noticed(folder: Path, cli: Cli) -> None:
    wrong = ["    codecbench table --kind latncy\n", "```python\n1 / 0\n```\n", "```toml\nsample = 3\n```\n"]
    for text in wrong:
        (block,) = blocks(text)
        with pytest.raises(Exception, match=r"latncy|division|sample"):
            run_block(block, {}, cli)
