"""The command line: one line an error, with what to do; status 0, 1 or 2; nothing written that was not asked for."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import STEADY, TINY_WORKLOAD, Cli, Ended, put
from support.paths import DOCS
from support.signals import SIGNALS, kept_handlers

import codecbench

# --- help and names -------------------------------------------------------------------------------------------------


def test_version(cli: Cli) -> None:
    assert cli("--version") == Ended(0, f"codecbench {codecbench.__version__}\n", "")


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], [], ["run", "--help"], ["run", "-h"], ["data", "--help"], ["link", "show", "-h"]]
)
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
        (["run", "--workload", "cifar"], "codecbench: no workload 'cifar'; did you mean 'cifar10-resnet20'?"),
        (["run", "--workload", "imagenet"], "codecbench: no workload 'imagenet'; did you mean 'imagenet-resnet50'?"),
        (["run", "--samples", "99999"], "codecbench: --samples 99999: workload 'cifar10-resnet20' has 2000 test samp"),
        (["run", "none.toml"], "codecbench: cannot read none.toml: No such file or directory"),
        (["run", "--plugin", "none.py"], "codecbench: no plugin file "),
        (["table", "--link", "wifi-540"], "codecbench: no link 'wifi-540'; did you mean 'wifi-450'?"),
        (["table", "--format", "pdf"], "codecbench: invalid value for '--format': 'pdf' is not one of 'text', 'md'"),
        (["table"], "codecbench: no results in codecbench-results; run 'codecbench run --out codecbench-results' fi"),
        (["compare", "a", "b"], "codecbench: no results in a; run 'codecbench run --out a' first"),
        (["list", "codec"], "codecbench: invalid value for "),
        (["list", "splits", "--workload", "cifar10"], "codecbench: no workload 'cifar10'; did you mean 'cifar10-res"),
        (["list", "codecs", "--workload", "tiny"], "codecbench: --workload is for 'codecbench list splits', not for"),
        (["list", "links", "--data-dir", "x"], "codecbench: --data-dir is for 'codecbench list splits', not for"),
        (["list", "splits", "--data-dir", "none"], "codecbench: --data-dir none: there is no such folder; 'codecbench"),
        (["run", "--data-dir", "none"], "codecbench: --data-dir none: there is no such folder; 'codecbench data get'"),
        (["fit", "--data-dir", "none"], "codecbench: --data-dir none: there is no such folder"),
        (["device", "predict", "--device", "epyc-core", "--data-dir", "none"], "codecbench: --data-dir none: there is"),
        (["run", "--split", "stem", "--all-splits"], "codecbench: --split and --all-splits exclude each other; give o"),
        (["fit", "--split", "stem", "--all-splits"], "codecbench: --split and --all-splits exclude each other; give o"),
        (["figure", "--list", "bd-rate"], "codecbench: --list draws none: leave out --list to draw bd-rate, or the na"),
        (["link", "probe", "a:1", "--out", "none/p.csv"], "codecbench: cannot write none/p.csv (--out): there is no f"),
        (["link", "probe", "a:1", "--link-out", "."], "codecbench: cannot write . (--link-out): it is a folder; name"),
        (["check", "none.py"], "codecbench: no plugin file "),
        (["check", "a/none"], "codecbench: no plugin file "),
        (["check", "/"], "codecbench: / is a folder; name a plugin file"),
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


def test_a_plugin_that_does_not_import_names_file_and_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import codecbench\n\nimport no_such_package\n")
    ended = cli("list", "codecs", "--plugin", path)
    assert ended.status == 2
    assert ended.error == (
        f"codecbench: plugin {path} does not import: {path}, line 3: "
        "ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_python_runs_the_package() -> None:
    done = subprocess.run([sys.executable, "-m", "codecbench", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"codecbench {codecbench.__version__}\n"


def test_help_names_every_exit_status(cli: Cli) -> None:
    shown = " ".join(cli("--help").out.split())
    page = " ".join((DOCS / "reference" / "cli.md").read_text().split())
    for status in ("0", "1", "2", "70", "130"):
        assert re.search(rf"Exit status: .*\b{status} (where|for|after) ", shown)
        assert f"| {status} |" in page


# --- debugging ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--debug", "table"], ["table", "--debug"]])
def test_debug_gives_the_traceback(cli: Cli, words: list[str]) -> None:
    with pytest.raises(codecbench.UsageError):
        cli(*words)


def test_an_error_nobody_foresaw_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("codecbench.cli.authors.manager", fail)
    ended = cli("list", "codecs")
    assert ended.status == 70
    assert ended.error == ("codecbench: internal error, RuntimeError: two lines; --debug shows where, please report it")
    with pytest.raises(RuntimeError):
        cli("list", "codecs", "--debug")


def test_an_interrupted_command_says_that_nothing_is_lost(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codecbench.cli.authors.manager", interrupt)
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


def command(*words: str, **environment: str) -> dict[str, Any]:
    """What `subprocess.run` takes to run a command with these environment variables."""
    called = [sys.executable, "-m", "codecbench.cli.main", *words]
    return {"args": called, "env": {**os.environ, **environment}, "check": False}


@pytest.mark.parametrize("words", [["--help"], ["list", "links"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_that_nobody_reads_is_no_error(words: list[str], stream: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    done = subprocess.run(**command(*words), **{stream: writer, other: subprocess.PIPE})
    os.close(writer)
    assert done.returncode in (0, 1)  # Typer ends its own texts with 1
    assert done.stderr in (None, b"")


@pytest.mark.parametrize("words", [["--help"], ["list", "links"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_to_a_full_disk_is_one_line(words: list[str], unbuffered: str) -> None:
    called = command(*words, PYTHONUNBUFFERED=unbuffered)  # what Python buffers, it would write again at its exit
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(**called, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the disk is full" in line


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    called = f"exec {shlex.quote(sys.executable)} -m codecbench.cli.main list links {closed}"
    assert subprocess.run(["/bin/sh", "-c", called], capture_output=True, check=False).returncode == 0


# --- terminals without Unicode --------------------------------------------------------------------------------------

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
WRITES = """
from codecbench.cli.options import echo, print_any_text, show
print_any_text()
text = "dagger \\u2020, degree \\u00b0, section \\u00a7, minus \\u2212, x \\u00d7, caf\\u00e9, \\u6f22, \\udcff"
show(text)
echo(text)
"""


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "dagger +, degree ^, section #, minus -, x x, cafe, ?, ?"),
        (C_LOCALE, "dagger +, degree ^, section #, minus -, x x, cafe, ?, ?"),
        (
            {"PYTHONIOENCODING": "latin-1"},
            "dagger +, degree \u00b0, section \u00a7, minus -, x \u00d7, caf\u00e9, ?, ?",
        ),
        (
            {"PYTHONIOENCODING": "utf-8"},
            "dagger \u2020, degree \u00b0, section \u00a7, minus \u2212, x \u00d7, caf\u00e9, \u6f22, ?",
        ),
    ],
    ids=["ascii", "the C locale", "latin-1", "utf-8"],
)  # fmt: skip
def test_every_text_can_be_printed(environment: dict[str, str], shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES], env={**os.environ, **environment}, capture_output=True, check=True
    )
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    assert done.stdout.decode(encoding) == done.stderr.decode(encoding) == shown + "\n"


def test_a_table_is_printed_in_the_c_locale(tmp_path: Path) -> None:
    put(tmp_path / "out", isolation="audit")
    (tmp_path / "caf\u00e9.toml").write_text('codec = ["\u00e9"]', encoding="utf-8")
    done = subprocess.run(
        **command("table", "--budget", "1", "--out", str(tmp_path / "out"), **C_LOCALE), capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    done = subprocess.run(**command("run", str(tmp_path / "caf\u00e9.toml"), **C_LOCALE), capture_output=True)
    assert done.stderr.decode("ascii").startswith("codecbench: no codec 'e'")
    assert done.returncode == 2


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of signals back."""
    with kept_handlers():
        yield


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_ends_at_a_signal_as_at_ctrl_c(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, handlers: None, number: signal.Signals
) -> None:
    ended: list[str] = []

    def work(*_arguments: Any) -> None:
        try:
            os.kill(os.getpid(), number)
            ended.append("went on")
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # a second one, as from a terminal that closes
            ended.append("tidied up")

    monkeypatch.setattr("codecbench.cli.authors.manager", work)
    found = cli("list", "codecs")
    assert (found.status, ended) == (130, ["tidied up"])
    assert found.error == "codecbench: stopped; finished cells are kept, and the same command goes on from there"


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"), [("codecs", "steady"), ("workloads", "tiny"), ("links", "wifi-450"), ("splits", "stem")]
)
def test_lists_as_json_and_as_text(cli: Cli, no_processes: None, kind: str, name: str) -> None:
    words = ["list", kind, *TINY_WORKLOAD[2:], *STEADY[:2], *(TINY_WORKLOAD[:2] if kind == "splits" else [])]
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
