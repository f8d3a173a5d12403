"""Descriptors that two processes have inherited together do not join them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed in /proc")

POSITION = """
import os, sys
from codecbench.isolation import descriptors
os.write(1, b"before ")
if os.fork() == 0:
    if sys.argv[1] == "detached":
        descriptors.detach_streams()
    os.write(1, b"printed")
    os._exit(0)
os.wait()
os.write(1, b" after %d" % os.lseek(1, 0, os.SEEK_CUR))
"""

STREAMS = """
import os
from codecbench.isolation import descriptors
source, sink = os.pipe()
descriptors.detach_streams(sink)
assert os.read(0, 1) == b""
os.write(1, b"out")
os.write(2, b"err")
assert os.read(source, 100) == b"outerr"
"""

UNREADABLE = """
import os
from codecbench.isolation import descriptors
descriptors.detach_streams()
try:
    os.read(1, 1)
except OSError as error:
    os.write(2, error.strerror.encode())
"""


def run(script: str, *args: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([sys.executable, "-c", script, *args], stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(("how", "text"), [("inherited", b"before printed after 14"), ("detached", b"before  after 7")])
def test_a_shared_file_is_not_printed_to(tmp_path, how, text):
    """Its size and its position would tell other processes how much was printed."""
    with (tmp_path / "log").open("wb+") as log:
        run(POSITION, how, stdout=log)
    assert (tmp_path / "log").read_bytes() == text


def test_input_is_empty_and_output_goes_to_the_pipe(tmp_path):
    (tmp_path / "input").write_bytes(b"secret")
    with (tmp_path / "input").open("rb") as stream, (tmp_path / "log").open("wb+") as log:
        run(STREAMS, stdin=stream, stdout=log)
    assert (tmp_path / "log").read_bytes() == b""


def test_a_terminal_can_be_written_to_only():
    ours, theirs = os.openpty()
    try:
        done = run(UNREADABLE, stdout=theirs, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stderr == os.strerror(9).encode()
