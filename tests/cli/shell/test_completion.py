"""Completion: which words a begun command line can go on with, and that shells take the script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import Cli, search_path


def words_after(cli: Cli, *words: str, shell: str = "bash") -> list[str]:
    ended = cli("complete-words", shell, "--", *words)
    assert (ended.status, ended.err) == (0, "")
    return ended.out.splitlines()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ru"], ["run"]),
        (["rehea"], []),
        (["complete"], []),
        (["--ver"], ["--version"]),
        (["data", ""], ["get"]),
        (["run", "--smp"], []),
        (["run", "a.toml", "--fr"], ["--fresh"]),
        (["run", "--preset", ""], ["quick", "full"]),
        (["run", "--preset=", "--preset", "f"], ["full"]),
        (["run", "--preset", "=", "f"], ["full"]),
        (["run", "--preset", "full", "--pre"], ["--preset"]),
        (["run", "--fresh", "--codec", "ra"], ["raw"]),
        (["run", "--workload", "cifar"], ["cifar10-resnet20"]),
        (["run", "--split", "ste"], ["stem"]),
        (["run", "--workload", "digits-deepspeech", "--split", "layer1"], ["layer1"]),
        (["run", "--workload", "unknown", "--split", ""], []),
        (["run", "--out", ""], []),
        (["list", "w"], ["workloads"]),
        (["list", "codecs", "--js"], ["--json"]),
        (["check", "lossl"], ["lossless"]),
        (["plan", "--link", "wi"], ["wifi-450"]),
        (["plan", "--device", "ho"], ["host"]),
        (["plan", "--edge", "gpu"], ["gpu-edge"]),
        (["table", "--format", "m"], ["md"]),
        (["completion", "z"], ["zsh"]),
    ],
)  # fmt: skip
def test_the_words_that_can_follow(cli: Cli, words: list[str], found: list[str]) -> None:
    assert words_after(cli, *words) == found


def test_zsh_and_fish_show_what_words_mean(cli: Cli) -> None:
    assert words_after(cli, "stat", shell="bash") == ["status"]
    (zsh,) = words_after(cli, "stat", shell="zsh")
    (fish,) = words_after(cli, "stat", shell="fish")
    assert zsh.startswith("status:Say how far the run")
    assert fish.startswith("status\tSay how far the run")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return search_path(tmp_path)


def in_shell(shell: str, script: str, path: str, environment: dict[str, str]) -> str:
    """What a script prints in a shell, which is skipped where it is not installed."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [program, "-c", script], capture_output=True, text=True, env={**environment, "PATH": path}, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}


def test_bash_completes(path: str, environment: dict[str, str]) -> None:
    script = (
        'eval "$(codecbench completion bash)"; complete -p codecbench;'
        "COMP_WORDS=(codecbench run --preset f); COMP_CWORD=3; _codecbench; printf '<%s>' \"${COMPREPLY[@]}\""
    )
    printed = in_shell("bash", script, path, environment)
    assert printed == "complete -o bashdefault -o default -F _codecbench codecbench\n<full>"


def test_zsh_reads_its_script(path: str, environment: dict[str, str]) -> None:
    script = (
        'autoload -U compinit; compinit -u -D; eval "$(codecbench completion zsh)"; print $_comps[codecbench];'
        "_describe() { print -r -- $found }; words=(codecbench run --preset f); CURRENT=4; _codecbench"
    )
    assert in_shell("zsh", script, path, environment) == "_codecbench\nfull\n"


def test_fish_completes(path: str, environment: dict[str, str]) -> None:
    script = "codecbench completion fish | source; complete --do-complete 'codecbench run --preset f'"
    assert in_shell("fish", script, path, environment) == "full\n"
    script = "codecbench completion fish | source; complete --do-complete 'codecbench stat'"
    assert in_shell("fish", script, path, environment).startswith("status\tSay how far")
