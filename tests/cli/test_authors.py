"""`codecbench check`: what it takes, and what it prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.codec_files import plugin_with

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
        "codecbench: none.py registers no codec; return its classes from codecbench_register_codecs()"
    )
