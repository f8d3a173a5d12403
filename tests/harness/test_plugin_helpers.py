"""Plugin files that import modules beside them: in every process, and as a part of their source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import TINY
from support.prepared import PreparedServer

from codecbench.errors import PluginError
from codecbench.registry import manager
from codecbench.results.store import Store

CODEC = """
from codecbench import Codec, hookimpl
import helper_of_codec

class Helped(Codec):
    "Values as they are, by a module beside this file."
    name = "helped"

    def fit(self, data):
        import helpers_late.rounding
        self.state = helpers_late.rounding.STATE

    def export(self, side):
        return self.state

    def restore(self, side, state):
        self.state = state

    def encode(self, x):
        import helpers_late.rounding
        return helpers_late.rounding.pack(x)

    def decode(self, payload):
        return helper_of_codec.unpack(self.spec, payload)

@hookimpl
def codecbench_register_codecs():
    return [Helped]
"""
HELPER = "def unpack(spec, payload): return spec.from_buffer(payload)\n"
ROUNDING = "STATE = b'state'\ndef pack(x): return x.numpy().tobytes()\n"


def write(folder: Path) -> None:
    (folder / "helpers_late").mkdir(parents=True)
    (folder / "codecs.py").write_text(CODEC)
    (folder / "helper_of_codec.py").write_text(HELPER)
    (folder / "helpers_late" / "__init__.py").write_text("")
    (folder / "helpers_late" / "rounding.py").write_text(ROUNDING)
    source = TINY.read_text().replace("range(first, first + count)", "helper_of_tiny.numbers(first, count)")
    (folder / "tiny.py").write_text(source.replace("import hashlib", "import hashlib\nimport helper_of_tiny", 1))
    (folder / "helper_of_tiny.py").write_text("def numbers(first, count): return range(first, first + count)\n")


def run(folder: Path, server: PreparedServer | None = None) -> str:
    """Run the codec in processes that know nothing of this one; return what was printed. `server` forks the workers."""
    words = ["--plugin", "mine/codecs.py", "--plugin", "mine/tiny.py", "--workload", "tiny", "--codec", "helped"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    words = ["run", *words, "--split", "stem", "--samples", "8", "--out", "out"]
    options: dict[str, Any] = {"cwd": folder, "capture_output": True, "env": environment}
    if server is not None:
        done = server.run(*words, **options)
    else:
        command = [sys.executable, "-m", "codecbench", *words]
        done = subprocess.run(command, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_plugin_imports_modules_beside_it_in_every_process_and_they_are_its_source(
    tmp_path: Path, prepared_server: PreparedServer
) -> None:
    write(tmp_path / "mine")
    assert "1 measured, 0 skipped, 0 failed" in run(tmp_path)
    (record,) = Store(tmp_path / "out").records()
    assert record.provenance.isolation in ("kernel", "audit")
    assert "0 measured, 0 skipped, 0 failed, 1 already there" in run(tmp_path, prepared_server)
    (tmp_path / "mine" / "helpers_late" / "rounding.py").write_text(ROUNDING + "EDITED = True\n")
    assert "the codec's source has changed; measuring it again" in run(tmp_path, prepared_server)
    (tmp_path / "mine" / "helper_of_tiny.py").write_text("def numbers(first, n): return range(first, first + n)\n")
    assert "the workload's source has changed; measuring it again" in run(tmp_path, prepared_server)


def test_plugins_whose_helpers_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name)
    with pytest.raises(PluginError, match="two modules of the name 'helper_of_codec' cannot be told apart"):
        manager([tmp_path / "one" / "codecs.py", tmp_path / "two" / "codecs.py"])
