"""The results folder: `<out>/<workload>/<split>/<codec>-<point>-<hash>.json`, and a Parquet file of the same stem.

The Parquet file with the per-sample columns is written first. The JSON file, written atomically with the checksum of
the Parquet file, completes the record. A Parquet file without a JSON file is a finished accuracy pass without timing;
its metadata has all that a later run needs to continue.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.devices.layers import ModelLayers
from codecbench.errors import DataError, UsageError
from codecbench.results.cell import CellKey
from codecbench.results.record import Record, Samples, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTIAL = b"codecbench"

LAYERS = "layers.json"
"""The file name of a workload's layers, beside the folders of its splits."""

_CELL_STEM = re.compile(r"-[0-9a-f]{12}$")
"""The end of a record's file name without ending: the cell's hash."""


class Store:
    """The results folder `out`. Reading needs no lock; a run writes inside `locked()`."""

    def __init__(self, out: Path) -> None:
        self.out = Path(out)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create and lock the folder within a with block. Raises UsageError if it is read-only or already locked.

        If the block raises before anything is written, folders that were created here are removed again.
        """
        created = [folder for folder in (self.out, *self.out.parents) if not folder.exists()]
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = (self.out / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"cannot write to {self.out} ({error.strerror}); choose another --out") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(
                    f"another run is writing to {self.out}; wait for it or choose another --out"
                ) from error
            for left_over in self.out.rglob("*.tmp"):
                left_over.unlink()
            try:
                yield
            except BaseException:
                if created and not any(path.name != ".lock" for path in self.out.iterdir()):
                    (self.out / ".lock").unlink()
                    with suppress(OSError):  # a folder above it may have got something else meanwhile
                        for folder in created:
                            folder.rmdir()
                raise

    def records(self) -> list[Record]:
        """Return all records, by path. Raises UsageError without a folder, DataError for an unreadable record."""
        if not self.out.is_dir():
            raise UsageError(f"no results in {self.out}; run 'codecbench run --out {self.out}' first")
        paths = sorted(p for p in self.out.glob("*/*/*.json") if _CELL_STEM.search(p.stem))
        return [_read(p) for p in paths]

    def find(self, key: CellKey) -> Record | None:
        """Return the record of a cell, or None if there is none or its samples are missing.

        Raises DataError if the record is unreadable or its samples are damaged.
        """
        path = self._path(key, ".json")
        if not path.exists():
            return None
        record = _read(path)
        if record.samples is not None:
            samples = path.with_name(record.samples.file)
            if not samples.exists():
                return None
            _check_sum(samples, record.samples.sha256)
        return record

    def samples(self, record: Record) -> dict[str, NDArray[Any]]:
        """Return the per-sample columns of a record. Raises DataError if the file is missing or damaged.

        Columns: subset ("test" or "choice"), sample_id, payload_bytes, numerator, denominator,
        uncompressed_numerator, uncompressed_denominator, bound_bytes if the codec gives bounds, and psnr_db and ssim
        for an image input.
        """
        import pyarrow.parquet as pq

        if record.samples is None:
            raise DataError(f"cell {record.cell} ({record.status}) has no samples")
        key = CellKey(**record.key.model_dump())
        path = self._path(key, ".json").with_name(record.samples.file)
        _check_sum(path, record.samples.sha256)
        return _columns(pq.read_table(path))

    def write_samples(
        self, key: CellKey, columns: Mapping[str, NDArray[np.generic]], partial: Mapping[str, Any]
    ) -> Samples:
        """Write the per-sample columns, and the values of `partial` into the file's metadata; see `partial`."""
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        table = table.replace_schema_metadata({PARTIAL: json.dumps(partial, sort_keys=True).encode()})
        buffer = io.BytesIO()
        # Dictionaries suit columns of few distinct values. They would enlarge float32 columns and sample_id.
        encodings = {field.name: "BYTE_STREAM_SPLIT" for field in table.schema if pa.types.is_float32(field.type)}
        if "sample_id" in columns and pa.types.is_integer(table.schema.field("sample_id").type):
            encodings["sample_id"] = "DELTA_BINARY_PACKED"
        pq.write_table(
            table, buffer, compression="zstd", compression_level=12, write_statistics=False,
            use_dictionary=[name for name in columns if name not in encodings], column_encoding=encodings,
        )  # fmt: skip
        path = self._path(key, ".parquet")
        self._write(path, buffer.getvalue())
        return Samples(file=path.name, sha256=hashlib.sha256(buffer.getvalue()).hexdigest(), rows=table.num_rows)

    def partial(self, key: CellKey) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Samples] | None:
        """Return columns and metadata of a finished accuracy pass, or None if it is missing or unreadable."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(key, ".parquet")
        if not path.exists():
            return None
        try:
            table = pq.read_table(path)
            values = json.loads(table.schema.metadata[PARTIAL])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            return None
        return _columns(table), values, Samples(file=path.name, sha256=_sha256(path), rows=table.num_rows)

    def write(self, key: CellKey, record: Record) -> None:
        """Write a record, which completes its cell."""
        self._write(self._path(key, ".json"), record.to_text().encode())

    def layers(self, workload: str) -> ModelLayers | None:
        """Return the layers of a workload's full model, or None if no run has written them.

        Raises DataError if the file is damaged.
        """
        path = self._layers_path(workload)
        if not path.exists():
            return None
        try:
            return ModelLayers.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, DataError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it and run again") from error

    def all_layers(self) -> dict[str, ModelLayers]:
        """Return the layers of all workloads that have them, by name. Raises DataError as `layers` does."""
        names = sorted(path.parent.name for path in self.out.glob(f"*/{LAYERS}"))
        return {name: found for name in names if (found := self.layers(name)) is not None}

    def write_layers(self, workload: str, layers: ModelLayers) -> None:
        """Write the layers of a workload's full model beside the folders of its splits."""
        rows = layers.to_json()
        described = ",\n".join(json.dumps(row) for row in rows.pop("layers"))
        text = json.dumps(rows, indent=1)[:-2] + f',\n "layers": [\n{described}\n]\n}}\n'
        self._write(self._layers_path(workload), text.encode())

    def _layers_path(self, workload: str) -> Path:
        return self.out / workload / LAYERS

    def discard(self, key: CellKey) -> None:
        """Remove a cell's record and samples, so that a run measures it again."""
        for ending in (".json", ".parquet"):
            self._path(key, ending).unlink(missing_ok=True)

    def _path(self, key: CellKey, ending: str) -> Path:
        return self.out / key.folder / (key.stem + ending)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            cause = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise DataError(
                f"cannot write {path}: {cause}; earlier records are kept, so run the same command again"
            ) from error


def _read(path: Path) -> Record:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run again") from error
    return parse(text, str(path))


def _columns(table: Any) -> dict[str, NDArray[Any]]:
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _check_sum(path: Path, expected: str) -> None:
    found = _sha256(path) if path.exists() else "no file"
    if found != expected:
        raise DataError(f"{path} is damaged: expected sha256 {expected}, found {found}; run the cell again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
