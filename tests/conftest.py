"""Options and isolation for all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.cli import Cli, Ended
    from support.prepared import PreparedServer
    from support.runs import KeptProcesses

# A test's tensors are small: two threads take longer for them than one, and ten times as long where two processes share
# two cores. Tests of threads ask for theirs.
for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


LONGEST = (
    "docs/test_your_model", "docs/test_blocks", "workers/process/graphs/test_architectures", "plugins/test_conformance",
    "isolation/test_seal", "docs/test_tutorial", "workers/test_forks", "cli/test_main", "harness/test_resume",
    "cli/test_scaffold", "kit/test_mutated_payloads", "kit/test_checks", "fitting/test_torch_optim",
    "fitting/test_checkpoints", "harness/test_plugin_helpers", "docs/test_more_machines",
    "harness/units/test_unit_scoring",
)  # fmt: skip
"""The files that take the longest. They come first, so that no process is left with one of them at the end."""


def pytest_configure(config: pytest.Config) -> None:
    # In the background, a shell may have these ignored; then they would be in all processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.option.loadscopereorder = False  # by default, xdist begins with the files that have the most tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow, too")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite; none where tests are named, which start sooner so and can be debugged."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
    skip_slow = pytest.mark.skip(reason="slow; run with --run-slow")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(skip_slow)
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, or finds data that happens to be fetched on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("CODECBENCH_DATA", raising=False)
        yield


@pytest.fixture(autouse=True)
def _own_import_path() -> Iterator[None]:
    """Folders of plugin files that a test loads do not stay on the import path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture(scope="session")
def prepared_server(_own_cache: None) -> Iterator[PreparedServer]:
    """The process that has imported torch and that workers are forked from."""
    from support.prepared import PreparedServer

    found = PreparedServer()
    yield found
    found.close()


@pytest.fixture
def prepared(prepared_server: PreparedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker of the test is forked from a process that has imported torch."""
    prepared_server.share(monkeypatch)


@pytest.fixture(scope="session")
def kept(prepared_server: PreparedServer) -> Iterator[KeptProcesses]:
    """Processes that serve the runs of all files: starting them is what takes time."""
    from support.runs import KeptProcesses

    found = KeptProcesses(prepared_server)
    yield found
    found.close()


@pytest.fixture
def shared(kept: KeptProcesses, monkeypatch: pytest.MonkeyPatch) -> KeptProcesses:
    """Every run of the test takes the kept processes."""
    kept.share(monkeypatch)
    return kept


@pytest.fixture
def cli(prepared: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    from support.cli import Ended

    from codecbench.cli.main import main

    def cli(*words: str | Path) -> Ended:
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return cli
