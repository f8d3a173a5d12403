"""Plugin files that tests write: a codec of `misbehaving.py` under another name and with changes."""

from __future__ import annotations

import sys
from pathlib import Path

from support.paths import MISBEHAVING

MINE = """
@hookimpl
def codecbench_register_codecs():
    return [Steady]
"""


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
