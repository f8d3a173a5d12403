"""Plugin files that tests write: a plain codec, or one of `misbehaving.py` under another name and with changes."""

from __future__ import annotations

import sys
from pathlib import Path

from support.paths import MISBEHAVING

MINE = """
@hookimpl
def codecbench_register_codecs():
    return [Steady]
"""

PLAIN = '''
"""A codec and its file."""

import torch

from codecbench import Codec, hookimpl


class {name}(Codec):
    """The values as they are."""

    name = "{label}"
    points = ({point},)

    def encode(self, x):
        return x.numpy().tobytes()

    def decode(self, payload):
        return self.spec.from_buffer(payload)


@hookimpl
def codecbench_register_codecs():
    return [{name}]
'''


def plain_codec(name: str, label: str, point: str = "{}") -> str:
    """The text of a plugin file with a codec of this class name, label and point."""
    return PLAIN.format(name=name, label=label, point=point)


def plugin_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """A plugin file with one codec, `mine`, that will be loaded as if by a new process."""
    source = MISBEHAVING.read_text()
    source = source[: source.index("class SkipsInput")] + MINE
    for old, new in (('name = "steady"', 'name = "mine"'), *changes):
        assert old in source
        source = source.replace(old, new)
    path = folder / "mine.py"
    path.write_text(source)
    for name in [name for name in sys.modules if name.startswith("codecbench_file_mine_")]:
        del sys.modules[name]
    return path


def method(source: str) -> tuple[str, str]:
    """A class method for `plugin_with` to add."""
    return "    bits: int\n", f"    bits: int\n    @classmethod\n    def {source}\n"
