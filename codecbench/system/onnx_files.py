"""ONNX files: read with their external weights, and hashed. Importing this module imports no onnx."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from codecbench.errors import DataError, PluginError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import FunctionProto, GraphProto, ModelProto, TensorProto

INSTALL = "pip install 'codecbench[onnx]'"


def read_onnx(path: Path) -> ModelProto:
    """Return a file's model with its weights, external ones included.

    Raises DataError if the file is missing or no ONNX model, or if a weight lies outside the file's folder.
    """
    model = read_structure(path)
    if _external_files(model, path):
        from onnx.external_data_helper import load_external_data_for_model

        try:
            load_external_data_for_model(model, str(path.parent.resolve()))
        except Exception as error:
            raise DataError(f"{path}: its external weights cannot be read ({one_line(error)})") from error
    return model


def onnx_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file and its external weights. Raises DataError as `read_onnx` does."""
    found = hashlib.sha256()
    for part in (path, *(path.parent / place for place in _external_files(read_structure(path), path))):
        with part.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def read_structure(path: Path) -> ModelProto:
    """Return a file's model without its external weights. Raises DataError if it is no ONNX model."""
    try:
        import onnx
    except ImportError as error:
        raise PluginError(f"{path.name} needs onnx and onnxruntime: {INSTALL}") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or one_line(error)}; name an ONNX file") from error
    except Exception as error:  # protobuf's DecodeError, which has no stable place
        raise DataError(f"{path}: no ONNX model ({one_line(error)})") from error
    if not model.graph.node:
        raise DataError(f"{path}: no ONNX model (it has no nodes)")
    return model


def _tensors(graph: GraphProto | FunctionProto) -> Iterator[TensorProto]:
    """Yield the weights of a graph: initializers, and constants in the attributes of nodes and in their own graphs."""
    yield from getattr(graph, "initializer", ())
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from _tensors(inner)


def _external_files(model: ModelProto, path: Path) -> list[str]:
    """Return the locations of external weights, relative to the file's folder. Raises DataError for one outside it."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    folder = path.parent.resolve()
    tensors = (tensor for part in (model.graph, *model.functions) for tensor in _tensors(part))
    locations = {str(ExternalDataInfo(tensor).location) for tensor in tensors if uses_external_data(tensor)}
    for place in sorted(locations):
        pure = PurePosixPath(place.replace("\\", "/"))
        inside = not pure.is_absolute() and ".." not in pure.parts and ":" not in place
        if not inside or not (folder / place).resolve().is_relative_to(folder):
            raise DataError(f"{path}: its weights lie in {place!r}; external weights are read from its own folder only")
        if not (folder / place).is_file():
            raise DataError(f"{path}: {place!r}, the file of its weights, is missing beside it")
    return sorted(locations)
