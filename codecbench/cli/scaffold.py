"""`codecbench new-codec` and `new-workload`: write a working plugin, or a TOML file, and its test, to start from."""

from __future__ import annotations

import importlib.util
import json
import keyword
import os
import re
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Any

from codecbench.adapters.description import KEYS, WorkloadDescription
from codecbench.codec import Codec
from codecbench.errors import UsageError
from codecbench.registry import codecs, manager, workloads
from codecbench.system.files import reason_of, replace_file
from codecbench.workload import Workload

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


WORKLOAD = Template('''\
"""`$name`: top-1 of a network on made-up pictures.

Replace the model, the samples and the targets by your own, then run in this folder: codecbench check $module.py
"""

import hashlib

from codecbench import RatioMetric, TensorSpec, Workload, hookimpl

FIRST = {"fit": 0, "choice": 1000, "test": 2000}


class $class_name(Workload):
    """Top-1 of a small network on pictures of noise."""

    name = "$name"
    metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)
    default_splits = ()  # chosen along the depth; or names, as `codecbench list splits` prints them
    budget = 1.0
    input_spec = TensorSpec((3, 32, 32), image=True)  # float32 k/255; normalise in the model

    def build_model(self):
        """Return the model in evaluation mode, with the same weights in every process."""
        from torch import manual_seed, nn

        manual_seed(0)  # load your weights instead
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 10)).eval()

    def weights_sha256(self):
        """Return the hash of the weights, of their file for example."""
        return hashlib.sha256(b"seed 0").hexdigest()

    def sample_ids(self, subset):
        """Return an identifier for each sample: the subsets `fit`, `choice` and `test` share none."""
        return range(FIRST[subset], FIRST[subset] + 100)

    def inputs(self, subset, positions):
        """Return the inputs at these positions of `sample_ids(subset)`."""
        import numpy as np

        draws = [np.random.default_rng(self.sample_ids(subset)[at]) for at in positions]
        return [draw.integers(0, 256, (3, 32, 32), np.uint8) / np.float32(255) for draw in draws]

    def targets(self, subset, positions):
        """Return the targets at these positions."""
        return [self.sample_ids(subset)[at] % 10 for at in positions]

    def score(self, output, target):
        """Return numerator and denominator for one sample: 1 or 0 over 1."""
        return float(output[0].argmax() == target), 1.0


@hookimpl
def codecbench_register_workloads():
    """Register the workload."""
    return [$class_name]
''')

WORKLOAD_TEST = Template('''\
"""The workload `$name` keeps its contract. Run: pytest test_$module.py"""

from $module import $class_name

from codecbench.testing import parametrize_workload


@parametrize_workload($class_name)
def test_contract(check):
    check()
''')

DESCRIBED_TEST = Template('''\
"""The workload of $module.toml keeps its contract. Run: pytest test_$module.py"""

from pathlib import Path

from codecbench.testing import described_workload, parametrize_workload


@parametrize_workload(described_workload(Path(__file__).with_name("$module.toml")))
def test_contract(check):
    check()
''')


def new_codec(name: str, folder: Path) -> list[Path]:
    """Writes `<name>.py` and `test_<name>.py` into the folder, with underscores for hyphens, and returns their paths.

    Raises UsageError for a name that is invalid or taken, and for a file that exists.
    """
    words = _checked_words(name, Codec, codecs(manager()))
    return _write(folder, {f"{words['module']}.py": PLUGIN, f"test_{words['module']}.py": TEST}, words)


def new_workload(name: str, folder: Path) -> list[Path]:
    """Writes a plugin file with a workload, and its test. See `new_codec`."""
    words = _checked_words(name, Workload, workloads(manager()))
    return _write(folder, {f"{words['module']}.py": WORKLOAD, f"test_{words['module']}.py": WORKLOAD_TEST}, words)


def new_described_workload(name: str, folder: Path, description: WorkloadDescription) -> list[Path]:
    """Writes a TOML file that describes a workload, with paths from its folder, and its test. See `new_codec`."""
    words = _checked_words(name, Workload, workloads(manager()))
    lines = [f"# A workload: a model, its data and a task. Measure it: codecbench run {words['module']}.toml"]
    for key in KEYS:
        value = getattr(description, key)
        if value not in (None, ()):
            text = _from_folder(value, folder) if isinstance(value, str) else value
            lines.append(f"{key} = {json.dumps(text, ensure_ascii=False)}")
    described = Template("\n".join(lines).replace("$", "$$") + "\n")
    return _write(folder, {f"{words['module']}.toml": described, f"test_{words['module']}.py": DESCRIBED_TEST}, words)


def _from_folder(text: str, folder: Path) -> str:
    """Returns a text of a description with its absolute path, if it has one, written from a folder."""
    at = 0 if text.startswith("/") else text.find(":/") + 1
    return text[:at] + os.path.relpath(text[at:], folder.resolve()) if text[at : at + 1] == "/" else text


def _checked_words(name: str, base: type[Codec] | type[Workload], known: Mapping[str, type[Any]]) -> dict[str, str]:
    """Returns what the templates need of a name. Raises UsageError for one that is invalid or taken."""
    module = name.replace("-", "_")
    problem = _name_problem(name, module, base, known)
    if problem:
        raise UsageError(f"{base.__name__.lower()} name {name!r} {problem}")
    return {"name": name, "module": module, "class_name": _class_name(name)}


def _write(folder: Path, files: Mapping[str, Template], words: Mapping[str, str]) -> list[Path]:
    """Writes files of a folder, all or none, and returns their paths. Raises UsageError for one that exists."""
    paths = [folder / file for file in files]
    present = next((path for path in paths if path.exists()), None)
    if present is not None:
        raise UsageError(f"{present} exists; choose another name or folder")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in zip(paths, files.values(), strict=True):
            replace_file(path, template.substitute(words).encode())
            written.append(path)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise UsageError(f"cannot write to {folder}: {reason_of(error)}; choose another folder") from error
    return paths


def _name_problem(
    name: str, module: str, base: type[Codec] | type[Workload], known: Mapping[str, type[Any]]
) -> str | None:
    """Returns the reason that a codec or workload, or its file, cannot have this name, and the next step, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return f"is not lower-case words joined by hyphens; try {_nearest(name, base.__name__.lower())!r}"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} letters; {LONGEST_NAME} are enough"
    if name in known:
        return f"is used by {known[name].__module__}.{known[name].__qualname__}; choose another"
    if any(map(keyword.iskeyword, (module, _class_name(name)))) or _class_name(name) == base.__name__:
        return "has a meaning of its own in the file; add a word"
    found = importlib.util.find_spec(module)
    # A folder that is no package is found as a namespace, without a file, and is hidden by any module.
    if module in sys.stdlib_module_names or (found is not None and found.origin is not None):
        return f"would make a file that hides the installed module {module}; add a word"
    return None


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _nearest(name: str, kind: str) -> str:
    """Returns a valid name made of the letters and digits of this one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:LONGEST_NAME].rstrip("-")
    return words if words[:1].isalpha() else f"{kind}-{words}".rstrip("-")
