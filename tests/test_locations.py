"""Where an error passed through a user's own files, and where classes and methods stand in them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from codecbench.errors import CodecFailure
from codecbench.locations import MAX_FRAMES, class_location, frames_of, method_location, raised_location
from codecbench.registry import load_file

SOURCE = """
import json
import numpy as np
from codecbench import Codec

class Base(Codec):
    name = "base"
    def encode(self, x):
        return helper(x)
    def decode(self, payload):
        return json.loads(payload)

def helper(x):
    return np.reshape(x, (2, 2))

def deep(n):
    return deep(n - 1) if n else 1 / 0

Made = type("Made", (Base,), {"name": "made"})
"""


@pytest.fixture
def plugin(tmp_path: Path) -> ModuleType:
    path = tmp_path / "framed.py"
    path.write_text(SOURCE)
    return load_file(path)


def raised(call, *arguments):  # type: ignore[no-untyped-def]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        call(*arguments)
    return caught.value


def test_frames_are_the_plugins_own_with_their_code(plugin: ModuleType) -> None:
    error = raised(plugin.Base.encode, None, np.zeros(3))
    # This test's own frame comes first: it is no library's.
    assert frames_of(error)[-2:] == (
        "framed.py:9 encode: return helper(x)", "framed.py:14 helper: return np.reshape(x, (2, 2))",
    )  # fmt: skip
    assert raised_location(error) == f"{plugin.__file__}, line 14"


def test_frames_of_pythons_library_are_left_out(plugin: ModuleType) -> None:
    error = raised(plugin.Base.decode, None, "{")
    assert isinstance(error, json.JSONDecodeError)
    assert frames_of(error)[-1] == "framed.py:11 decode: return json.loads(payload)"


def test_the_cause_of_an_error_of_the_harness_has_the_frames(plugin: ModuleType) -> None:
    cause = raised(plugin.helper, np.zeros(3))
    error = CodecFailure("encode: it failed")
    error.__cause__ = cause
    assert frames_of(error) == frames_of(cause)
    error.frames = ("mine.py:1 f: pass",)
    assert frames_of(error) == ("mine.py:1 f: pass",)
    assert frames_of(CodecFailure("nothing of a plugin")) == ()


def test_the_innermost_frames_of_a_deep_error_are_kept(plugin: ModuleType) -> None:
    frames = frames_of(raised(plugin.deep, 100))
    assert len(frames) == MAX_FRAMES
    assert set(frames) == {"framed.py:17 deep: return deep(n - 1) if n else 1 / 0"}


def test_classes_and_methods_have_lines(plugin: ModuleType) -> None:
    assert class_location(plugin.Base) == f"{plugin.__file__}, line 6"
    assert class_location(plugin.Made) == f"{plugin.__file__}, line 6"
    assert method_location(plugin.Base, "decode") == f"{plugin.__file__}, line 10"
    assert method_location(plugin.Base, "name") == f"{plugin.__file__}, line 6"
