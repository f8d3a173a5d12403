"""The command line: one line an error, with what to do; status 0, 1 or 2; nothing written that was not asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.factories import make_key, make_record
from support.paths import LEARNING, MISBEHAVING, TINY

import codecbench
from codecbench.cli.main import main
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.fitting import states
from codecbench.results.cell import CellKey
from codecbench.results.store import Store
from codecbench.workers.protocol import Reply

TINY_WORKLOAD = ["--workload", "tiny", "--plugin", str(TINY)]
STEADY = ["--plugin", str(MISBEHAVING), "--codec", "steady"]


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        (line,) = self.err.splitlines()
        return line


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def cli(*words: str | Path) -> Ended:
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return cli


class FakePair:
    """What a plan needs of the two processes, without any."""

    def __init__(self, *arguments: Any) -> None:
        self.device = self.edge = self
        inner = TensorSpec((6, 4, 4))
        self.cuts = {"input": TensorSpec((3, 8, 8), image=True), "stem": inner, "block": inner}

    def __enter__(self) -> FakePair:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, op: str, fields: Any) -> Reply:
        return Reply({"forward_s": 0.032}, [])


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need the model's cuts are told them."""
    monkeypatch.setattr("codecbench.harness.run.Pair", FakePair)
    monkeypatch.setattr("codecbench.workers.pair.Pair", FakePair)


# --- help and names -------------------------------------------------------------------------------------------------


def test_version(cli: Cli) -> None:
    assert cli("--version") == Ended(0, f"codecbench {codecbench.__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], [], ["run", "--help"], ["data", "--help"]])
def test_help_goes_to_standard_output(cli: Cli, words: list[str]) -> None:
    ended = cli(*words)
    assert (ended.status, ended.err) == (0, "")
    assert "Usage: codecbench" in ended.out


def test_starting_imports_no_torch() -> None:
    code = (
        "import sys; from codecbench.cli.main import main; main(['list', 'codecs', '--json']);"
        "sys.exit(bool({'torch', 'scipy', 'skimage', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "raw" in {row["name"] for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["rnu"], "codecbench: no command 'rnu'; did you mean 'run'?"),
        (["xyz"], "codecbench: no command 'xyz'; see codecbench --help"),
        (["run", "--smaples", "3"], "codecbench: no option --smaples; did you mean --samples?"),
        (["run", "--zzz"], "codecbench: no option --zzz; see --help"),
        (["run", "a.toml", "b.toml"], "codecbench: got unexpected extra argument"),
        (["run", "--seed", "x"], "codecbench: invalid value for '--seed': "),
        (["run", "--seed"], "codecbench: option '--seed' requires an argument"),
        (["run", "--samples", "some"], "codecbench: --samples: input should be a valid integer"),
        (["run", "--samples", "0"], "codecbench: --samples: input should be greater than 0, got 0"),
        (["run", "--samples", "-3"], "codecbench: --samples: input should be greater than 0, got '-3'"),
        (["run", "--timeout-s", "0"], "codecbench: --timeout-s: input should be greater than 0, got 0.0"),
        (["run", "--preset", "slow"], "codecbench: --preset: input should be 'quick' or 'full', got 'slow'"),
        (["run", "--codec", "rwa"], "codecbench: no codec 'rwa'; did you mean 'raw'?"),
        (["run", "--codec", "raw:values"], "codecbench: codec 'raw:values': 'values' is not key=value; write"),
        (["run", "--workload", "cifar10"], "codecbench: no workload 'cifar10'; did you mean 'cifar10-resnet20'?"),
        (["run", "--samples", "99999"], "codecbench: --samples 99999: workload 'cifar10-resnet20' has 2000 test samp"),
        (["run", "none.toml"], "codecbench: cannot read none.toml: No such file or directory"),
        (["run", "--plugin", "none.py"], "codecbench: no plugin file "),
        (["table", "--link", "wifi-540"], "codecbench: no link 'wifi-540'; did you mean 'wifi-450'?"),
        (["table", "--format", "pdf"], "codecbench: invalid value for '--format': 'pdf' is not one of 'text', 'md'"),
        (["table"], "codecbench: no results in codecbench-results; run 'codecbench run --out codecbench-results' fi"),
        (["compare", "a", "b"], "codecbench: no results in a; run 'codecbench run --out a' first"),
        (["list", "codec"], "codecbench: invalid value for "),
        (["list", "splits", "--workload", "cifar10"], "codecbench: no workload 'cifar10'; did you mean 'cifar10-res"),
        (["check", "rwa"], "codecbench: no codec 'rwa'; did you mean 'raw'?"),
        (["data", "get", "cifar01"], "codecbench: no dataset 'cifar01'; did you mean 'cifar10'?"),
        (["data", "gte"], "codecbench: no command 'gte'; did you mean 'get'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(cli: Cli, tmp_path: Path, words: list[str], error: str) -> None:
    ended = cli(*words)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.error.startswith(error)
    assert not list(tmp_path.iterdir())


def test_more_samples_than_shipped_names_the_command_that_fetches_them(cli: Cli) -> None:
    assert cli("run", "--samples", "99999").error.endswith("; run 'codecbench data get cifar10' for more")


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


def test_a_plugin_that_does_not_import_names_file_and_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import codecbench\n\nimport no_such_package\n")
    ended = cli("list", "codecs", "--plugin", path)
    assert ended.status == 2
    assert ended.error == (
        f"codecbench: plugin {path} does not import: {path}, line 3: "
        "ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_a_plugin_beside_the_config_is_loaded(cli: Cli, tmp_path: Path, no_processes: None) -> None:
    (tmp_path / "codecbench_plugin.py").write_text(TINY.read_text())
    (tmp_path / "mine.toml").write_text('workload = "tiny"\nsamples = "all"\ncodec = ["raw"]\nsplit = ["stem"]')
    ended = cli("run", "mine.toml", "--dry-run")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("stem raw values=float32\n1 cells on test-64-")


# --- debugging ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--debug", "table"], ["table", "--debug"]])
def test_debug_gives_the_traceback(cli: Cli, words: list[str]) -> None:
    with pytest.raises(codecbench.UsageError):
        cli(*words)


def test_an_error_nobody_foresaw_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("codecbench.cli.main.manager", fail)
    ended = cli("list", "codecs")
    assert ended.status == 70
    assert ended.error == ("codecbench: internal error, RuntimeError: two lines; --debug shows where, please report it")
    with pytest.raises(RuntimeError):
        cli("list", "codecs", "--debug")


def test_an_interrupted_command_says_that_nothing_is_lost(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codecbench.cli.main.manager", interrupt)
    ended = cli("list", "codecs")
    assert ended.status == 130
    assert "finished cells are kept" in ended.error


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "codecbench.cli.main", "list", "codecs", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"), [("codecs", "steady"), ("workloads", "tiny"), ("links", "wifi-450"), ("splits", "stem")]
)
def test_lists_as_json_and_as_text(cli: Cli, no_processes: None, kind: str, name: str) -> None:
    words = ["list", kind, *TINY_WORKLOAD, *STEADY[:2]]
    ended = cli(*words, "--json")
    assert (ended.status, ended.err) == (0, "")
    rows = json.loads(ended.out)
    assert name in [row["name"] for row in rows]
    text = cli(*words).out
    assert text.startswith("name ")
    assert name in text


def test_a_codec_that_cannot_run_is_listed_with_the_reason(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from codecbench import Codec, hookimpl\n"
        "class Mine(Codec):\n"
        "    '''Needs what is not there.'''\n"
        "    name = 'mine'\n"
        "    @classmethod\n"
        "    def unavailable(cls): return 'needs zlib-ng: pip install zlib-ng'\n"
        "    def encode(self, x): return b''\n"
        "    def decode(self, payload): return None\n"
        "@hookimpl\n"
        "def codecbench_register_codecs(): return [Mine]\n"
    )
    rows = json.loads(cli("list", "codecs", "--json", "--plugin", tmp_path / "mine.py").out)
    (mine,) = (row for row in rows if row["name"] == "mine")
    assert mine["unavailable"] == "needs zlib-ng: pip install zlib-ng"
    assert mine["description"] == "Needs what is not there."
    assert mine["points"] == [{}]


# --- runs -----------------------------------------------------------------------------------------------------------


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


def put(out: Path, **fields: Any) -> None:
    record = make_record(**fields)
    Store(out).write(CellKey(**record.key.model_dump()), record)


def test_tables_of_records(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", "--budget", "1", "--format", "md")
    assert (ended.status, ended.err) == (0, "")
    assert "alpha" in ended.out


def test_a_table_of_latencies(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", "--budget", "1", "--latency", "--link", "lte")
    assert (ended.status, ended.err) == (0, "")
    assert "end-to-end latency in ms" in ended.out
    assert "Network: lte, modelled" in ended.out
    both = cli("table", "--out", "out", "--latency", "--points")
    assert (both.status, both.error) == (
        2, "codecbench: --latency, --points, --training and --bd-rate are tables of their own; ask for one",
    )  # fmt: skip


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
    assert ended.error.startswith("the choice at other bandwidths is left out: link 'pigeon' has no bandwidth")
    assert "best       local" in ended.out
    assert "from each bandwidth on" not in ended.out


def test_a_table_of_the_time_that_fits_take(cli: Cli, tmp_path: Path) -> None:
    record = make_record("stem", "alpha", fit_s=44.78, workload="cifar10-resnet20")
    Store(tmp_path / "out").write(make_key("stem", "alpha", workload="cifar10-resnet20"), record)
    ended = cli("table", "--out", "out", "--training")
    assert ended.status == 0
    assert "alpha" in ended.out
    assert "of 4,478 s, the training of the model itself: every epoch counted" in " ".join(ended.out.split())
    assert cli("table", "--out", "out", "--training", "--points").error.endswith("ask for one")


def test_bd_rates_against_a_row(cli: Cli, tmp_path: Path) -> None:
    for codec, factor in (("alpha", 1), ("beta", 2)):
        for quality, change in ((10, -20.0), (20, -10.0), (40, -5.0), (80, -2.0), (160, -0.5)):
            put(tmp_path / "out", codec=codec, point={"q": quality}, payload_bytes=factor * quality * 10, change=change)
    ended = cli("table", "--out", "out", "--bd-rate", "alpha")
    assert (ended.status, ended.err) == (0, "")
    assert "+100" in ended.out
    assert cli("table", "--out", "out", "--bd-rate", "gamma").error.startswith("codecbench: no ")


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


def test_an_unreadable_record_is_named(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.json")
    path.write_text("{}")
    ended = cli("table", "--out", "out")
    assert ended.status == 2
    assert ended.error.startswith(f"codecbench: out/{path.relative_to(tmp_path / 'out')} has no integer 'schema'")


def test_export(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out")
    ended = cli("export", "all.csv", "--out", "out")
    assert (ended.status, ended.out, ended.err) == (0, "", "1 records written to all.csv\n")
    assert (tmp_path / "all.csv").exists()


def test_fetching_goes_to_the_folder_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(cls: type, data_dir: Path, say: Callable[[str], None]) -> None:
        say(f"fetching into {data_dir}")
        raise DataError("no network; try again")

    monkeypatch.setattr("codecbench_datasets.cifar10.Cifar10ResNet20.fetch", classmethod(fetch))
    ended = cli("data", "get", "cifar10", "--data-dir", "here")
    assert ended.status == 2
    assert ended.err == "fetching into here\ncodecbench: no network; try again\n"


class FakeRun:
    """A run that ends as it is told to."""

    summary: Any = None

    def __init__(self, config: Any, reporter: Any) -> None:
        self.sample_sets = {"test": "test-100-00c0ffee"}
        put(config.out, workload="cifar10-resnet20")

    def execute(self) -> Any:
        return self.summary


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


def test_fit_writes_states_where_they_are_wanted(cli: Cli, tmp_path: Path) -> None:
    learns = [*TINY_WORKLOAD, "--plugin", MISBEHAVING, "--codec", "learns", "--split", "stem"]
    ended = cli("fit", *learns, "--into", "shipped")
    assert ended.status == 0
    assert ended.err.endswith("1 fitted, 0 failed, 0 already there\n")
    assert [path.suffix for path in (tmp_path / "shipped" / "learns").iterdir()] == [".zip"]
    assert cli("fit", *learns, "--into", "shipped").err.endswith("0 fitted, 0 failed, 1 already there\n")


def test_a_fit_on_all_samples_takes_the_options_of_a_long_one(cli: Cli, tmp_path: Path) -> None:
    ended = cli(
        "fit", *TINY_WORKLOAD, "--plugin", LEARNING, "--codec", "greedy", "--split", "stem",
        "--into", "shipped", "--seed", "3", "--max-fit-s", "60",
    )  # fmt: skip
    assert (ended.status, ended.err.splitlines()[-1]) == (0, "1 fitted, 0 failed, 0 already there")
    (path,) = (tmp_path / "shipped" / "greedy").iterdir()
    state = states.read(path.parent, path.stem)
    assert state is not None
    assert (state.about["seed"], state.about["sample_set"].rpartition("-")[0]) == (3, "fit-40")


def test_a_fit_that_fails_ends_with_status_1(cli: Cli, tmp_path: Path) -> None:
    ended = cli(
        "fit", *TINY_WORKLOAD, "--plugin", MISBEHAVING, "--codec", "fails-to-learn", "--split", "stem",
        "--into", "shipped",
    )  # fmt: skip
    assert ended.status == 1
    assert ended.err.endswith("failed: stem fails-to-learn: fit: FloatingPointError: the loss is nan\n")


def test_a_table_of_points_for_some_codecs_and_splits(cli: Cli, tmp_path: Path) -> None:
    for split, codec in (("input", "raw"), ("input", "zlib"), ("stem", "zlib")):
        record = make_record(split, codec)
        Store(tmp_path).write(make_key(split, codec), record)
    ended = cli("table", "--out", tmp_path, "--points", "--codec", "zlib", "--split", "stem", "--format", "csv")
    assert ended.status == 0
    assert [line.split(",")[6:8] for line in ended.out.splitlines()[1:]] == [["stem", "zlib"]]
    ended = cli("table", "--out", tmp_path, "--codec", "zilb")
    assert ended.error == "codecbench: no codec in these records: 'zilb'; did you mean 'zlib'?"
