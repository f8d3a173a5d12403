"""Golden bitstreams: written once, held to for a version, never overwritten."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import BROKEN

from codecbench import DataError, TensorSpec, UsageError
from codecbench.kit.golden import Golden, golden_files, golden_folder
from codecbench.kit.runner import CHECKS, Kit
from codecbench.registry import load_file
from codecbench.testing import write_golden

broken = load_file(BROKEN)

FEATURES = TensorSpec((4, 8, 8))

PLUGIN = '''
from codecbench import Codec, hookimpl

class Kept(Codec):
    """Kept."""
    name = "kept"
    version = {version}
    points = ({{"gain": 1}}, {{"gain": 2}})
    def encode(self, x): return (x * self.gain).numpy().tobytes()
    def decode(self, payload): return self.spec.from_buffer(payload) / self.gain + {shift}

@hookimpl
def codecbench_register_codecs(): return [Kept]
'''


@pytest.fixture
def kept(tmp_path):
    """A codec in a file of its own, in a given version and with a given change of what it decodes to."""

    def make(version: int = 1, shift: float = 0.0):
        source = tmp_path / "kept.py"
        source.write_text(PLUGIN.format(version=version, shift=shift))
        module = ModuleType("kept")
        module.__file__ = str(source)
        sys.modules["kept"] = module  # where inspect looks for a class's source file
        exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
        return module.Kept

    yield make
    sys.modules.pop("kept", None)


def golden_outcome(codec):
    return Kit([codec], [FEATURES]).outcome(CHECKS["check_golden"], codec)


def test_a_missing_golden_file_is_skipped_with_the_command(kept):
    outcome = golden_outcome(kept())
    assert outcome.status == "skipped"
    assert "2 missing of 2" in outcome.reason
    assert outcome.reason.endswith("codecbench check kept --update-golden")


def test_the_command_names_the_file_of_a_codec_that_is_not_installed(tmp_path, monkeypatch):
    path = tmp_path / "my codecs" / "kept.py"
    path.parent.mkdir()
    path.write_text(PLUGIN.format(version=1, shift=0.0))
    for folder, name in (
        (path.parent, "kept.py"),
        (tmp_path, "'my codecs/kept.py'"),
        (path.parent / "sub", f"'{path}'"),
    ):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        outcome = golden_outcome(load_file(path).Kept)
        assert outcome.reason.endswith(f"codecbench check {name} --update-golden")


def test_golden_files_are_written_once_and_hold(kept, tmp_path):
    written = write_golden(kept(), specs=[FEATURES])
    folder = tmp_path / "golden" / "kept"
    assert written == [folder / "float32-4x8x8-gain=1.json", folder / "float32-4x8x8-gain=2.json"]
    before = [path.read_bytes() for path in written]
    assert golden_outcome(kept()).status == "passed"
    assert write_golden(kept(), specs=[FEATURES]) == []
    assert [path.read_bytes() for path in written] == before


def test_checks_never_write_golden_files(kept, tmp_path):
    golden_outcome(kept())
    assert not (tmp_path / "golden").exists()


def test_another_decode_without_a_new_version_fails_and_is_not_overwritten(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    before = first.read_bytes()
    changed = kept(shift=0.5)
    outcome = golden_outcome(changed)
    assert outcome.status == "failed"
    assert "values differ by up to 0.5; raise version" in outcome.reason
    with pytest.raises(UsageError, match="raise kept's version"):
        write_golden(changed, specs=[FEATURES])
    assert first.read_bytes() == before


def test_a_tiny_difference_is_allowed(kept):
    write_golden(kept(), specs=[FEATURES])
    assert golden_outcome(kept(shift=1e-6)).status == "passed"


def test_a_raised_version_asks_for_new_golden_files(kept):
    written = write_golden(kept(), specs=[FEATURES])
    raised = kept(version=2, shift=0.5)
    outcome = golden_outcome(raised)
    assert outcome.status == "skipped"
    assert "2 of an older version" in outcome.reason
    assert write_golden(raised, specs=[FEATURES]) == written
    assert golden_outcome(raised).status == "passed"
    outcome = golden_outcome(kept(version=1, shift=0.5))
    assert outcome.status == "failed"
    assert "is of version 2" in outcome.reason


def test_files_of_other_programs_are_no_golden_files(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    first.write_text(first.read_text(), encoding="utf-8-sig")
    first.with_name(f"._{first.name}").write_bytes(bytes(4))
    first.with_name("folder.json").mkdir()
    assert golden_outcome(kept()).status == "passed"


def test_golden_files_of_an_older_version_go_when_the_new_ones_are_written(kept, monkeypatch):
    written = write_golden(kept(), specs=[FEATURES])
    before = [path.read_bytes() for path in written]

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("codecbench.kit.golden.replace_file", full)
        with pytest.raises(DataError, match=r"cannot write golden file .* \(the disk is full\); make room"):
            write_golden(kept(version=2), specs=[FEATURES])
    assert [path.read_bytes() for path in written] == before


def test_a_damaged_golden_file_is_named(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    first.write_text(first.read_text()[:200])
    outcome = golden_outcome(kept())
    assert outcome.status == "failed"
    assert f"golden file {first} is damaged" in outcome.reason


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(3,), (2, 0), (2, 3, 4)]),
    dtype=st.sampled_from(["float16", "float32", "int8", "int64"]),
    payload=st.binary(max_size=40),
    state=st.binary(max_size=40),
    point=st.dictionaries(st.sampled_from("abc"), st.one_of(st.booleans(), st.integers(), st.text(max_size=5))),
)
def test_golden_files_keep_what_they_are_given(tmp_path_factory, shape, dtype, payload, state, point):
    path = tmp_path_factory.mktemp("golden") / "x" / "y.json"
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    golden = Golden("any", 3, TensorSpec(shape, dtype), point, state, payload, values)
    golden.write(path)
    again = Golden.read(path)
    assert (again.codec, again.version, again.spec, again.point) == ("any", 3, golden.spec, point)
    assert (again.edge_state, again.payload) == (state, payload)
    assert np.array_equal(again.values, values)
    assert again.values.dtype == values.dtype


def test_a_golden_file_of_another_format_is_refused(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    first.write_text(first.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="has format 2, this codecbench reads 1"):
        Golden.read(first)


def test_golden_files_lie_beside_the_source():
    assert golden_folder(broken.Remembered) == BROKEN.parent.resolve() / "golden" / "sound-golden"
    assert [path.name for path in golden_files(broken.Remembered)] == ["float32-4x8x8-default.json"]
