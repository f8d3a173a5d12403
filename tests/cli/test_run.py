"""`codecbench run`, `fit` and `data get`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cli import STEADY, TINY_WORKLOAD, Cli, put
from support.paths import LEARNING, MISBEHAVING, TINY
from support.runs import KeptProcesses

from codecbench.errors import DataError
from codecbench.fitting import states
from codecbench.fitting.states import FittedState
from codecbench.results.record import Record


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--split", "steem"], "codecbench: no split point 'steem'; did you mean 'stem'?"),
        (["--split", "xyz"], "codecbench: no split point 'xyz'; see 'codecbench list splits --workload tiny'"),
        (["--codec", "steady:bist=3"], "codecbench: codec 'steady' has no argument 'bist'; did you mean 'bits'?;"),
    ],
)
def test_names_that_only_the_model_or_the_codec_knows(
    cli: Cli, no_processes: None, words: list[str], error: str
) -> None:
    ended = cli("run", *TINY_WORKLOAD, *STEADY[:2], "--samples", "all", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error.startswith(error)


def test_a_wrong_key_of_a_config_names_file_key_and_the_allowed_ones(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("smaples = 3")
    assert cli("run", "mine.toml").error.startswith(
        "codecbench: mine.toml: unknown key 'smaples'; did you mean 'samples'?; allowed are workload, codec, split,"
    )
    (tmp_path / "mine.toml").write_text("samples 3")
    assert cli("run", "mine.toml").error.startswith("codecbench: mine.toml is not TOML: ")


def test_a_plugin_beside_the_config_is_loaded(cli: Cli, tmp_path: Path, no_processes: None) -> None:
    (tmp_path / "codecbench_plugin.py").write_text(TINY.read_text())
    (tmp_path / "mine.toml").write_text('workload = "tiny"\nsamples = "all"\ncodec = ["raw"]\nsplit = ["stem"]')
    ended = cli("run", "mine.toml", "--dry-run")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("stem raw values=float32\n1 cell on test-64-")


def test_more_samples_than_shipped_names_the_command_that_fetches_them(cli: Cli, no_processes: None) -> None:
    assert cli("run", "--samples", "99999").error.endswith("; run 'codecbench data get cifar10' for more")


def test_a_dry_run_prints_the_cells_and_writes_nothing(cli: Cli, tmp_path: Path, no_processes: None) -> None:
    ended = cli("run", *TINY_WORKLOAD, *STEADY, "--codec", "skips-input", "--samples", "all", "--dry-run")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:3] == [
        "input steady bits=16",
        "input steady bits=32",
        "input skips-input  (skipped: takes no images)",
    ]
    assert lines[-1].startswith("9 cells on test-64-")
    assert lines[-1].endswith(" minutes")
    assert not list(tmp_path.iterdir())


def test_fetching_goes_to_the_folder_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(cls: type, data_dir: Path, say: Callable[[str], None]) -> None:
        say(f"fetching into {data_dir}")
        raise DataError("no network; try again")

    monkeypatch.setattr("codecbench_datasets.cifar10.Cifar10ResNet20.fetch", classmethod(fetch))
    ended = cli("data", "get", "cifar10", "--data-dir", "here")
    assert ended.status == 2
    assert ended.err == "fetching into here\ncodecbench: no network; try again\n"


def test_what_is_here_already_is_taken_from_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_from(cls: type, sources: Sequence[str], data_dir: Path, say: Callable[[str], None]) -> None:
        say(f"taking {', '.join(sources)}")

    ended = cli("data", "get", "cifar10", "--data-dir", "here", "--from", "a")
    assert ended.error == "codecbench: --from a: cifar10 can only be downloaded; leave --from out"
    monkeypatch.setattr("codecbench_datasets.cifar10.Cifar10ResNet20.fetch_from", classmethod(fetch_from))
    ended = cli("data", "get", "cifar10", "--data-dir", "here", "--from", "a", "--from", "b")
    assert (ended.status, ended.err) == (0, "taking a, b\n")


def test_fitted_states_are_taken_into_the_cache(cli: Cli, tmp_path: Path) -> None:
    key = "0" * 32
    states.keep(key, FittedState(b"device", b"edge", 1.0, {"codec": "learned"}), tmp_path / "theirs")
    ended = cli("data", "get", "states", "--from", "theirs", "--cache-dir", "cache")
    assert ended.status == 0
    assert ended.err.startswith("1 fitted state of learned")
    assert states.read(tmp_path / "cache" / "states", key) is not None
    assert "did you mean 'states'?" in cli("data", "get", "state").error


class FakeRun:
    """A run that ends as it is told to."""

    summary: Any = None

    def __init__(self, config: Any, reporter: Any) -> None:
        self.sample_sets = {"test": "test-100-00c0ffee"}
        put(config.out, workload="cifar10-resnet20")

    def __enter__(self) -> FakeRun:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self) -> Any:
        return self.summary

    def current(self, records: list[Record]) -> tuple[list[Record], list[str]]:
        return records, []


@pytest.mark.parametrize(
    ("counts", "status", "said"),
    [
        ({"ok": 2, "present": 1}, 0, ["2 measured, 0 skipped, 0 failed, 1 already there"]),
        (
            {"present": 3},
            0,
            [
                "0 measured, 0 skipped, 0 failed, 3 already there",
                "nothing to do: every cell has a current record (--fresh measures again)",
            ],
        ),
        (
            {"ok": 1, "failed": 1, "failures": ["stem bad: decode: KeyError: 'table'"]},
            1,
            ["1 measured, 0 skipped, 1 failed, 0 already there", "failed: stem bad: decode: KeyError: 'table'"],
        ),
    ],
)
def test_a_run_ends_with_its_sum_and_the_table(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, counts: dict[str, Any], status: int, said: list[str]
) -> None:
    from codecbench.experiment.cells import Summary

    monkeypatch.setattr(FakeRun, "summary", Summary(**counts))
    monkeypatch.setattr("codecbench.harness.run.Run", FakeRun)
    ended = cli("run", "--out", "out")
    assert (ended.status, ended.err.splitlines()) == (status, said)
    assert "alpha" in ended.out


def test_an_option_for_splits_replaces_both_of_the_files(cli: Cli, tmp_path: Path, no_processes: None) -> None:
    (tmp_path / "one.toml").write_text('split = ["stem"]')
    (tmp_path / "all.toml").write_text("all_splits = true")
    words = [*TINY_WORKLOAD, *STEADY[:2], "--codec", "steady:bits=16", "--samples", "all", "--dry-run"]
    assert cli("run", "one.toml", "--all-splits", *words).out.count(" steady ") == 3
    assert cli("run", "all.toml", "--split", "stem", *words).out.count(" steady ") == 1


def test_a_folder_that_cannot_be_written_to_is_named_before_the_fit(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for into in ("file", "file/deeper"):
        ended = cli("fit", *TINY_WORKLOAD, "--into", into)
        assert (ended.status, ended.out) == (2, "")
        assert ended.error.startswith(f"codecbench: --into: cannot write to {into} (")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_fit_writes_states_where_they_are_wanted(cli: Cli, tmp_path: Path, shared: KeptProcesses) -> None:
    learns = [*TINY_WORKLOAD, "--plugin", MISBEHAVING, "--codec", "learns", "--split", "stem"]
    ended = cli("fit", *learns, "--into", "shipped")
    assert ended.status == 0
    assert ended.err.endswith("1 fitted, 0 failed, 0 already there\n")
    assert [path.suffix for path in (tmp_path / "shipped" / "learns").iterdir()] == [".zip"]
    assert cli("fit", *learns, "--into", "shipped").err.endswith("0 fitted, 0 failed, 1 already there\n")


def test_a_fit_on_all_samples_takes_the_options_of_a_long_one(cli: Cli, tmp_path: Path, shared: KeptProcesses) -> None:
    ended = cli(
        "fit", *TINY_WORKLOAD, "--plugin", LEARNING, "--codec", "greedy", "--split", "stem",
        "--into", "shipped", "--seed", "3", "--max-fit-s", "60",
    )  # fmt: skip
    assert (ended.status, ended.err.splitlines()[-1]) == (0, "1 fitted, 0 failed, 0 already there")
    (path,) = (tmp_path / "shipped" / "greedy").iterdir()
    state = states.read(path.parent, path.stem)
    assert state is not None
    assert (state.about["seed"], state.about["sample_set"].rpartition("-")[0]) == (3, "fit-40")


def test_a_fit_that_fails_ends_with_status_1(cli: Cli, tmp_path: Path, shared: KeptProcesses) -> None:
    ended = cli(
        "fit", *TINY_WORKLOAD, "--plugin", MISBEHAVING, "--codec", "fails-to-learn", "--split", "stem",
        "--into", "shipped",
    )  # fmt: skip
    assert ended.status == 1
    assert ended.err.endswith("failed: stem fails-to-learn: fit: FloatingPointError: the loss is nan\n")


@pytest.mark.usefixtures("shared")
def test_debug_shows_the_plugins_own_lines_of_a_failed_cell_and_nothing_else_does(cli: Cli, tmp_path: Path) -> None:
    words = ["run", *TINY_WORKLOAD, "--plugin", MISBEHAVING, "--codec", "raises-in-decode", "--split", "stem"]
    words += ["--samples", "40", "--out", tmp_path / "out"]
    plain = cli(*words)
    assert plain.status == 1
    assert "misbehaving.py:" not in plain.err
    debugged = cli("--debug", *words)
    (at,) = (n for n, line in enumerate(debugged.err.splitlines()) if line.startswith("failed: stem raises-in-decode"))
    assert debugged.err.splitlines()[at + 1].startswith("  misbehaving.py:")
    assert " decode: raise " in debugged.err.splitlines()[at + 1]
