"""`codecbench new-codec` and `new-workload` write files and tests that pass as they are."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.descriptions import NETWORK, write_pictures
from support.factories import run_pytest

from codecbench import UsageError
from codecbench.cli.scaffold import new_codec, new_workload
from codecbench.registry import codecs, load_file, manager


def test_both_files_pass_as_written(tmp_path):
    plugin, test = new_codec("my-first-codec", tmp_path)
    assert (plugin.name, test.name) == ("my_first_codec.py", "test_my_first_codec.py")
    result = tmp_path / "speed.json"
    done = run_pytest(
        tmp_path,
        "-q",
        "-W",
        "error",
        f"--benchmark-json={result}",
        "--benchmark-max-time=0.01",
        "--benchmark-min-rounds=1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d{3} passed, 1 skipped", done.stdout), done.stdout  # golden bitstreams are not there yet
    timed = {run["extra_info"]["step"]: run for run in json.loads(result.read_text())["benchmarks"]}
    assert timed.keys() == {"encode", "decode"}
    for step, run in timed.items():
        info = run["extra_info"]
        assert run["group"] == f"(16, 32, 32): {step}"
        assert (info["codec"], info["point"], info["split"]) == ("my-first-codec", {"levels": 16}, "(16, 32, 32)")
        assert 0 < info["payload_bytes"] < 16 * 32 * 32
        assert info["throughput_mb_per_s"] == pytest.approx(65.536 / run["stats"]["median"] / 1000)


def test_the_plugin_loads_and_is_short(tmp_path):
    plugin, test = new_codec("mine", tmp_path)
    assert codecs(manager([plugin], with_entry_points=False))["mine"].__name__ == "Mine"
    assert len(plugin.read_text().splitlines()) <= 55
    assert len(test.read_text().splitlines()) <= 15


def test_the_plugin_imports_no_torch(tmp_path):
    plugin, _ = new_codec("mine", tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {plugin.stem}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "test_mine.py").write_text("# mine\n")
    with pytest.raises(UsageError, match=r"test_mine\.py exists; choose another name or folder"):
        new_codec("mine", tmp_path)
    assert (tmp_path / "test_mine.py").read_text() == "# mine\n"
    assert not (tmp_path / "mine.py").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("My Codec", "is not lower-case words joined by hyphens; try 'my-codec'"),
        ("my_codec", "try 'my-codec'"),
        ("3bits", "try 'codec-3bits'"),
        ("", "try 'codec'"),
        ("../up", "try 'up'"),
        ("né", "try 'ne'"),
        ("a" * 61, "has 61 letters; 60 are enough"),
        ("A" * 300, "try '" + "a" * 60 + "'"),
        ("none", "has a meaning of its own"),
        ("true", "has a meaning of its own"),
        ("false", "has a meaning of its own"),
        ("raw", r"is used by codecbench_plugins\.raw\.Raw; choose another"),
        ("lambda", "has a meaning of its own"),
        ("codec", "has a meaning of its own"),
        ("zlib", "hides the installed module zlib"),
        ("torch", "hides the installed module torch"),
    ],
)
def test_an_unfit_name_is_refused_with_a_cure(name, text, tmp_path):
    with pytest.raises(UsageError, match=text):
        new_codec(name, tmp_path / "sub")
    assert not (tmp_path / "sub").exists()


def test_a_folder_is_made(tmp_path):
    plugin, _ = new_codec("mine", tmp_path / "a" / "b")
    assert load_file(plugin).Mine.name == "mine"


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file"):
        new_codec("mine", tmp_path / "file")


def test_a_folder_of_that_name_is_no_module(cli, tmp_path):
    (tmp_path / "photos").mkdir()
    assert cli("new-workload", "photos").status == 0


@given(st.text(max_size=12) | st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5}){0,2}", fullmatch=True))
@example("3d")
@example("print")
def test_every_name_makes_files_that_import_or_is_refused_in_one_line(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("named")
    try:
        plugin, test = new_codec(name, folder)
    except UsageError as refused:
        error = str(refused)
        assert len(error.splitlines()) == 1
        assert list(folder.iterdir()) == []
        return
    assert list(codecs(manager([plugin], with_entry_points=False))) == [name]
    compile(test.read_text(), test, "exec")
    assert plugin.stem.isidentifier()


def test_the_first_file_goes_where_the_second_cannot_be_written(tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("codecbench.cli.scaffold.TEST.substitute", fail, raising=False)
        with pytest.raises(UsageError, match="the disk is full"):
            new_codec("mine", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_next_one(cli, tmp_path):
    ended = cli("new-codec", "my-codec", "--dir", "my codecs")
    assert ended.err.splitlines()[-1] == "next: codecbench check 'my codecs/my_codec.py'"
    assert "no codec 'quick'" not in cli("list", "codecs", "--plugin", "my codecs/my_codec.py").err


# --- workloads ------------------------------------------------------------------------------------------------------


def code_lines(path):
    """The lines of a Python file that hold code: without docstrings, comments and blank lines."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        kind = tokenize.tok_name[token.type]
        docstring = kind == "STRING" and token.string.startswith('"""')
        if kind not in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER") and not docstring:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found)


def test_a_workload_and_its_test_pass_as_written(tmp_path):
    plugin, test = new_workload("my-net", tmp_path)
    assert (plugin.name, test.name) == ("my_net.py", "test_my_net.py")
    assert code_lines(plugin) <= 35
    done = run_pytest(tmp_path, "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"13 passed, 1 skipped", done.stdout), done.stdout  # it has no set metric


def test_a_described_workload_and_its_test_pass_as_written(cli, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    write_pictures(tmp_path / "my pictures", 20)
    described = ["--model", "net.py:build", "--data", "imagefolder:my pictures", "--task", "agreement", "--size", "16"]
    ended = cli("new-workload", "my-net", "--toml", "--dir", "new", *described)
    assert ended.err.splitlines() == [
        "wrote new/my_net.toml", "wrote new/test_my_net.py", "next: codecbench run new/my_net.toml",
    ]  # fmt: skip
    assert tomllib.loads((tmp_path / "new" / "my_net.toml").read_text()) == {
        "name": "my-net", "model": "../net.py:build", "data": "imagefolder:../my pictures", "task": "agreement",
        "size": 16,
    }  # fmt: skip
    done = run_pytest(tmp_path / "new", "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed, 2 skipped" in done.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["x", "--toml"], "--toml needs --model, --data and --task"),
        (["x", "--task", "agreement"], "--task describes a workload, which needs --model and --data as well"),
        (["x", "--name", "y"], "the workload's name is x; leave out --name"),
        (["cifar10-resnet20"], "workload name 'cifar10-resnet20' is used by codecbench_datasets."),
        (["My Net"], "workload name 'My Net' is not lower-case words joined by hyphens; try 'my-net'"),
        (["3"], "workload name '3' is not lower-case words joined by hyphens; try 'workload-3'"),
        (["workload"], "workload name 'workload' has a meaning of its own in the file; add a word"),
    ],
)
def test_a_workload_that_cannot_be_written_is_refused(cli, tmp_path, words, error):
    ended = cli("new-workload", *words)
    assert ended.status == 2
    assert ended.error.startswith(f"codecbench: {error}")
    assert list(tmp_path.iterdir()) == []
