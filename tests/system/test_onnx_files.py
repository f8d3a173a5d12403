"""ONNX files are read with weights from their own folder only."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from support.onnx_models import residual, written

from codecbench.errors import DataError
from codecbench.system.onnx_files import onnx_sha256, read_onnx
from codecbench.workload import OnnxModel


def external(folder: Path) -> Path:
    return written(residual(), folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_external_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    made = read_onnx(external(tmp_path))
    assert made.graph.initializer[0].raw_data == residual().graph.initializer[0].raw_data


def test_the_hash_covers_external_weights(tmp_path: Path) -> None:
    path = external(tmp_path)
    before = onnx_sha256(path)
    assert OnnxModel(path).weights_sha256() == before
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    assert onnx_sha256(path) != before


@pytest.mark.parametrize("place", ["/etc/hostname", "../weights.bin", "sub/../../weights.bin", "..\\weights.bin"])
def test_external_weights_elsewhere_are_refused(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    made = onnx.load(str(path), load_external_data=False)
    for tensor in made.graph.initializer:
        tensor.external_data[0].value = place
    path.write_bytes(made.SerializeToString())
    with pytest.raises(DataError, match="external weights are read from its own folder only"):
        read_onnx(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(DataError, match="own folder only"):
        onnx_sha256(path)


def test_missing_weights_and_files_are_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(DataError, match=r"m\.onnx: 'weights\.bin', the file of its weights, is missing"):
        read_onnx(path)
    with pytest.raises(DataError, match=r"none\.onnx: No such file.*name an ONNX file"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x02}q\x00."])
def test_other_files_are_no_models(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"m\.onnx: no ONNX model"):
        read_onnx(path)
