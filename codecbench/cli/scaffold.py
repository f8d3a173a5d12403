"""`codecbench new-codec NAME`: writes a working plugin and its test, to start from."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from string import Template

from codecbench.codec import Codec
from codecbench.errors import UsageError
from codecbench.registry import codecs, manager
from codecbench.system.files import reason_of, replace_file

LONGEST_NAME = 60
"""The most letters of a name: it becomes the name of files."""

PLUGIN = Template('''\
"""`$name`: values quantised between their minimum and maximum, then deflated.

Replace `encode` and `decode` by your own, then run in this folder: codecbench check $module.py
"""

from __future__ import annotations

import zlib

from codecbench import Codec, hookimpl
from codecbench.toolbox.coding import read_shape, write_shape
from codecbench.toolbox.transforms import RANGE_BYTES, dequantise_uniform, quantise_uniform


class $class_name(Codec):
    """Quantises to `levels` values from minimum to maximum, then deflates. The header holds both as float32."""

    name = "$name"
    points = ({"levels": 4}, {"levels": 16}, {"levels": 256})  # coarse to fine

    levels: int

    @classmethod
    def skip_reason(cls, spec, **point):
        """Returns the reason that tensors of this spec are skipped, or None. The run goes on with other cells."""
        return None if spec.dtype == "float32" else f"needs float32, got {spec.dtype}"

    def encode(self, x):
        """Returns the payload of one sample. It is timed on the device, every byte counts, and `x` is read-only."""
        header, indices = quantise_uniform(x.numpy(), self.levels)
        return write_shape(self.spec, x.shape) + header + zlib.compress(indices.tobytes(), 6)

    def decode(self, payload):
        """Returns a tensor of the spec's dtype and the sample's shape, in a process that never saw the sample."""
        import numpy as np

        shape, body = read_shape(self.spec, payload)
        # A damaged payload must not inflate without limit: stop one byte after the size of the tensor.
        values = zlib.decompressobj().decompress(body[RANGE_BYTES:], int(np.prod(shape)) + 1)
        restored = dequantise_uniform(body[:RANGE_BYTES], np.frombuffer(values, np.uint8), self.levels)
        return self.spec.from_buffer(restored.tobytes(), shape)


@hookimpl
def codecbench_register_codecs():
    """Registers the codec."""
    return [$class_name]
''')

TEST = Template('''\
"""The conformance kit and a benchmark for `$name`. Run: pytest test_$module.py"""

from $module import $class_name

from codecbench.testing import parametrize_codec


@parametrize_codec($class_name)
def test_conformance(check):
    check()


def test_speed(codec_benchmark):
    codec_benchmark($class_name)
''')


def new_codec(name: str, folder: Path) -> list[Path]:
    """Writes `<name>.py` and `test_<name>.py` into the folder, with underscores for hyphens, and returns their paths.

    Raises UsageError for a name that is invalid or taken, and for a file that exists.
    """
    module = name.replace("-", "_")
    paths = [folder / f"{module}.py", folder / f"test_{module}.py"]
    problem = _name_problem(name, module)
    if problem:
        raise UsageError(f"codec name {name!r} {problem}")
    present = next((path for path in paths if path.exists()), None)
    if present is not None:
        raise UsageError(f"{present} exists; choose another name or folder")
    words = {"name": name, "module": module, "class_name": _class_name(name)}
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in zip(paths, (PLUGIN, TEST), strict=True):
            replace_file(path, template.substitute(words).encode())
            written.append(path)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise UsageError(f"cannot write to {folder}: {reason_of(error)}; choose another folder") from error
    return paths


def _name_problem(name: str, module: str) -> str | None:
    """Returns the reason that a codec or its file cannot have this name, and the next step, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return f"is not lower-case words joined by hyphens; try {_nearest(name)!r}"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} letters; {LONGEST_NAME} are enough"
    known = codecs(manager())
    if name in known:
        return f"is used by {known[name].__module__}.{known[name].__qualname__}; choose another"
    if any(map(keyword.iskeyword, (module, _class_name(name)))) or _class_name(name) == Codec.__name__:
        return "has a meaning of its own in the file; add a word"
    if module in sys.stdlib_module_names or importlib.util.find_spec(module):
        return f"would make a file that hides the installed module {module}; add a word"
    return None


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _nearest(name: str) -> str:
    """Returns a valid name made of the letters and digits of this one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:LONGEST_NAME].rstrip("-")
    return words if words[:1].isalpha() else f"codec-{words}".rstrip("-")
