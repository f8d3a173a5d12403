"""`codecbench check`: what it takes, and what it prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.codec_files import plugin_with
from support.paths import BROKEN_WORKLOADS, TINY

from codecbench.cli import catalogue
from codecbench.kit.runner import Outcome


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the codecs that are checked; each passes one check and fails another."""
    names: list[str] = []

    def run_checks(codecs: Sequence[Any], *, on_outcome: Callable[[Outcome], None], **_options: Any) -> list[Outcome]:
        names.extend(codec.name for codec in codecs)
        outcomes = [Outcome("a", "check_b", "passed"), Outcome("a", "check_c", "failed", "why")]
        for outcome in outcomes:
            on_outcome(outcome)
        return outcomes

    monkeypatch.setattr("codecbench.testing.run_checks", run_checks)
    return names


def test_a_file_is_checked_however_it_is_named(cli: Cli, tmp_path: Path, checked: list[str]) -> None:
    plugin = plugin_with(tmp_path)
    other = tmp_path / "sub" / "my codec"
    other.parent.mkdir()
    other.write_text(plugin.read_text())
    other.rename(other.with_suffix(".py"))
    for words in (["mine.py"], ["./mine.py"], [str(plugin)], ["sub/my codec.py"], ["mine.py", "--plugin", "mine.py"]):
        checked.clear()
        ended = cli("check", *words)
        assert (ended.status, ended.err, checked) == (1, "2 checks, 1 failed\n", ["mine"])
    assert cli("check", "mine").error == (
        "codecbench: no codec 'mine' is installed; a plugin file is named with its ending: mine.py"
    )
    checked.clear()
    assert cli("check", "mine", "--plugin", "mine.py").status == 1
    assert checked == ["mine"]


def test_quiet_prints_failures_and_the_sum(cli: Cli, tmp_path: Path, checked: list[str]) -> None:
    plugin_with(tmp_path)
    assert cli("check", "mine.py").out == "passed   a-check_b\nfailed   a-check_c: why\n"
    for option in ("--quiet", "-q"):
        ended = cli("check", "mine.py", option)
        assert (ended.out, ended.err) == ("failed   a-check_c: why\n", "2 checks, 1 failed\n")


def test_a_file_that_registers_the_codec_of_another_module_is_checked(
    cli: Cli, tmp_path: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin_with(tmp_path).rename(tmp_path / "elsewhere_defined.py")
    hook = "@hookimpl\ndef codecbench_register_codecs(): return "
    top = "from codecbench import hookimpl\nfrom elsewhere_defined import Steady as Mine\n"
    (tmp_path / "registers.py").write_text(f"{top}{hook}[Mine]\n")
    assert cli("check", "registers.py").status == 1
    assert checked == ["mine"]
    (tmp_path / "none.py").write_text("from codecbench import hookimpl\n" + hook + "[]\n")
    assert cli("check", "none.py").error == (
        "codecbench: none.py registers no codec and no workload; return its classes from codecbench_register_codecs() "
        "or codecbench_register_workloads()"
    )


@pytest.fixture
def checked_workloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path | None]]:
    """The names of the workloads that are checked, each with its data folder; each passes its check."""
    found: list[tuple[str, Path | None]] = []

    def run_workload_checks(
        workload: Any, *, data_dir: Path | None, on_outcome: Callable[[Outcome], None]
    ) -> list[Outcome]:
        found.append((workload.name, data_dir))
        on_outcome(outcome := Outcome(workload.name, "check_b", "passed"))
        return [outcome]

    monkeypatch.setattr("codecbench.testing.run_workload_checks", run_workload_checks)
    return found


def test_workloads_are_checked_by_name_and_by_file(
    cli: Cli, tmp_path: Path, checked: list[str], checked_workloads: list[tuple[str, Path | None]]
) -> None:
    (tmp_path / "tiny.py").write_text(TINY.read_text())
    words: tuple[str, ...]
    for words in (("tiny.py",), ("tiny.py", "--workload", "tiny"), ("--workload", "tiny", "--plugin", "tiny.py")):
        ended = cli("check", *words)
        assert (ended.status, ended.out, ended.err) == (0, "passed   tiny-check_b\n", "1 check, 0 failed\n")
    assert checked_workloads == [("tiny", None)] * 3
    assert checked == []
    cli("check", "--workload", "cifar10-resnet20", "--data-dir", ".")
    assert checked_workloads[3:] == [("cifar10-resnet20", Path())]


def test_a_file_with_both_is_checked_for_both(
    cli: Cli, tmp_path: Path, checked: list[str], checked_workloads: list[tuple[str, Path | None]]
) -> None:
    plugin = plugin_with(tmp_path)
    source = TINY.read_text().replace("from __future__ import annotations", "")
    plugin.write_text(plugin.read_text() + source)
    ended = cli("check", "mine.py")
    assert (ended.status, ended.err) == (1, "3 checks, 1 failed\n")
    assert (checked, checked_workloads) == (["mine"], [("tiny", None)])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "name a codec or a plugin file, or a workload with --workload"),
        (["raw", "--workload", "tiny"], "raw is a codec and --workload stands for a workload; check one at a time"),
        (["raw", "--task", "agreement"], "raw is a codec and --task stands for a workload; check one at a time"),
        (["--workload", "cifar10-resnet20", "--update-golden"], "--update-golden is for codecs; name one"),
        (["--workload", "cifar10-resnet2"], "no workload 'cifar10-resnet2'; did you mean 'cifar10-resnet20'?"),
    ],
)
def test_what_cannot_be_checked_is_refused(cli: Cli, words: list[str], error: str) -> None:
    ended = cli("check", *words)
    assert (ended.status, ended.error) == (2, f"codecbench: {error}")


def test_a_broken_workload_fails_with_its_line(cli: Cli) -> None:
    ended = cli("--debug", "check", "-q", "--workload", "constant", "--plugin", BROKEN_WORKLOADS)
    assert ended.status == 1
    assert ended.out.startswith("failed   constant-check_metric_varies: workload 'constant' (")
    assert ended.err == "14 checks, 1 failed\n"


ROWS = [
    {"name": "long", "tags": ["learned"], "unavailable": None, "module": "m", "description": "many words " * 12},
    {"name": "longer-name", "tags": [], "unavailable": None, "module": "m", "description": "few"},
]


def test_a_narrow_terminal_has_descriptions_beneath_in_whole_words() -> None:
    lines = catalogue.text(ROWS, 40).splitlines()
    assert lines[0].split() == ["name", "tags"]
    assert lines[2].split() == ["long", "learned"]
    assert max(map(len, lines)) < 40
    assert " ".join(" ".join(lines[3:-2]).split()) == ("many words " * 12).strip()
    assert lines[-2:] == ["longer-name", "  few"]


def test_longest_values_go_beneath_where_the_table_is_still_too_wide() -> None:
    rows = [
        {
            "name": "alpha",
            "metric": "AP",
            "splits": ["input", "a-long-name-of-a-split-point", "block"],
            "description": "One.",
        },
        {"name": "beta", "metric": "top-1", "splits": ["input"], "description": "Another."},
    ]
    assert catalogue.text(rows, 38).splitlines() == [
        "name    metric", "------  --------",
        "alpha   AP", "  One.", "  splits: input", "  a-long-name-of-a-split-point block",
        "beta    top-1", "  Another.", "  splits: input",
    ]  # fmt: skip
    assert "splits" in catalogue.text(rows, 60).splitlines()[0]


def test_names_stay_whole_where_they_are_too_long() -> None:
    rows = [{"name": "a-name-that-is-long", "default": True}, {"name": "b", "default": False}]
    assert catalogue.text(rows, 18).splitlines()[2:4] == ["a-name-that-is-long", "  default: yes"]


def test_every_list_fits_80_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecbench.cli.authors.columns_of_a_terminal", lambda: 80)
    for kind in ("codecs", "workloads", "links", "devices"):
        assert max(map(len, cli("list", kind).out.splitlines())) <= 80


def test_the_codec_of_a_new_file_is_named_with_its_file(cli: Cli, no_processes: None) -> None:
    assert cli("new-codec", "my-codec").err.endswith("next: codecbench check my_codec.py\n")
    assert cli("check", "my-codec").error == (
        "codecbench: no codec 'my-codec' is installed; a plugin file is named with its ending: my_codec.py"
    )
    assert cli("run", "--codec", "my-codec", "--dry-run").error == (
        "codecbench: no codec 'my-codec' is installed; --plugin my_codec.py adds those of the file that is here"
    )


def test_a_wide_terminal_and_a_pipe_have_one_line_a_row() -> None:
    whole = catalogue.text(ROWS)
    assert len(whole.splitlines()) == 4
    assert catalogue.text(ROWS, 200) == whole
    assert catalogue.text([], 40) == ""
