"""A chunk's file: tensors come back as they were, a missing or full one is a single clear line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench import TensorSpec
from codecbench.errors import DataError
from codecbench.workers.tensor_file import TensorFile, copies

VECTOR = TensorSpec((4,))
LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@st.composite
def specs(draw: st.DrawFn) -> TensorSpec:
    """Fixed shapes of up to three axes, and a varying first axis."""
    dtype = draw(st.sampled_from(["float32", "float16", "uint8", "int64"]))
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    if draw(st.booleans()):
        return TensorSpec((None, *shape), dtype=dtype, max_length=7)
    return TensorSpec(tuple(shape), dtype=dtype)


@given(specs(), LENGTHS, st.randoms(use_true_random=False), st.data())
@settings(deadline=None, max_examples=60)
def test_tensors_come_back_bit_for_bit_in_any_order(spec: TensorSpec, lengths, random, data) -> None:
    shapes = [tuple(length if axis is None else axis for axis in spec.shape) for length in lengths]
    tensors = [
        np.frombuffer(data.draw(st.binary(min_size=n, max_size=n)), spec.dtype).reshape(shape)
        for shape in shapes
        for n in [spec.shape_bytes(shape)]
    ]
    order = random.sample(range(len(shapes)), len(shapes))
    with tempfile.TemporaryDirectory() as folder:
        file = TensorFile(Path(folder) / "tensors", spec, len(shapes)).create()
        other = TensorFile.from_json(json.loads(json.dumps(file.to_json())))
        for row in order:
            file.write(row, tensors[row])
        for row, found in enumerate(other.read_rows(0, shapes)):
            assert found.dtype == tensors[row].dtype
            assert found.tobytes() == tensors[row].tobytes()
            assert found.shape == shapes[row]
        assert file.path.stat().st_size == len(shapes) * file.row_bytes
        file.close()
        other.close()


def test_views_are_read_only_and_outlive_the_file(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors", VECTOR, 2).create()
    file.write(1, np.arange(4, dtype=np.float32))
    view = file.read(1, (4,))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 7
    (copy,) = copies([view])
    copy[0] = 7
    file.remove()
    assert not file.path.exists()
    assert view.tolist() == [0, 1, 2, 3]


def test_a_second_write_is_seen_by_a_mapping_made_before(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    assert file.read(0, (4,)).tolist() == [0, 0, 0, 0]
    file.write(0, np.ones(4, np.float32))
    assert file.read(0, (4,)).tolist() == [1, 1, 1, 1]


def test_values_that_do_not_lie_side_by_side_are_written_in_order(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors", TensorSpec((3, 2)), 1).create()
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    file.write(0, values)
    assert np.array_equal(file.read(0, (3, 2)), values)


def test_rows_that_are_not_written_take_no_space(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors", TensorSpec((1 << 20,)), 1000).create()
    file.write(999, np.zeros(1 << 20, np.float32))
    assert file.path.stat().st_size == 4000 << 20
    assert file.path.stat().st_blocks * 512 < 64 << 20


def test_an_interrupted_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite

    def in_parts(descriptor: int, values: memoryview, offset: int) -> int:
        return whole(descriptor, values[:5], offset)

    monkeypatch.setattr(os, "pwrite", in_parts)
    file = TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    file.write(0, np.arange(4, dtype=np.float32))
    assert file.read(0, (4,)).tolist() == [0, 1, 2, 3]


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_write_without_room_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, cause: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", refuse)
    file = TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    with pytest.raises(DataError) as caught:
        file.write(0, np.zeros(4, np.float32))
    assert str(caught.value) == (
        f"cannot write tensors to {tmp_path}: {cause}; make room, lower --scratch-gb, or set TMPDIR elsewhere"
    )


LIMITED = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from codecbench import TensorSpec
from codecbench.errors import DataError
from codecbench.workers.tensor_file import TensorFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = TensorFile(Path(sys.argv[1]), TensorSpec((1024,)), 8)
if sys.argv[2] == "write":
    file.create()
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    file.create() if sys.argv[2] == "create" else [file.write(row, np.ones(1024)) for row in range(8)]
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit of size here")
@pytest.mark.parametrize("step", ["create", "write"])
def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path, step: str) -> None:
    command: Sequence[str] = [sys.executable, "-c", LIMITED, str(tmp_path / "tensors"), step]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"cannot write tensors to {tmp_path}: {os.strerror(errno.EFBIG)}; "
        "make room, lower --scratch-gb, or set TMPDIR elsewhere"
    ]


def test_a_file_in_the_way_or_without_a_folder_is_one_line(tmp_path: Path) -> None:
    TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    with pytest.raises(DataError, match=f"^cannot write tensors to {tmp_path}: {os.strerror(errno.EEXIST)};"):
        TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    with pytest.raises(DataError, match=os.strerror(errno.ENOENT)):
        TensorFile(tmp_path / "absent" / "tensors", VECTOR, 1).open_for_writing()


def test_a_file_that_is_gone_says_to_run_again(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors", VECTOR, 1).create()
    file.remove()
    with pytest.raises(DataError, match=r"^the file of a chunk's tensors is gone .*; run the same command again$"):
        file.read(0, (4,))
