"""The results folder: `<out>/<workload>/<split>/<codec>-<point>-<hash>.json`, and a Parquet file of the same stem.

The Parquet file with the per-sample columns is written first. The JSON file, written atomically with the checksum of
the Parquet file, completes the record. A Parquet file without a JSON file is a finished accuracy pass without timing;
its metadata has all that a later run needs to continue.

A cell that has a record already is measured into a file beside it, `<stem>.parquet.new`. Record and samples are
replaced when the new ones are finished; at every moment the record in the JSON file names samples that are there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.devices.layers import ModelLayers
from codecbench.errors import DataError, UsageError
from codecbench.results.cell import CellKey, digest
from codecbench.results.outcomes import from_table, parquet
from codecbench.results.record import Record, Samples, Task, parse
from codecbench.results.set_values import SetValues, resampled_from
from codecbench.system.files import reason_of, replace_file
from codecbench.system.textfiles import decoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTIAL = b"codecbench"

RESAMPLED = "resampled"
"""The key, in the metadata of a Parquet file, of the values of set metrics for resamples, by metric."""

LAYERS = "layers.json"
"""The file name of a workload's layers, beside the folders of its splits."""

SEARCHES = "searches.json"
"""The file name of what searches for operating points have found, beside that."""

LOCK = ".lock"
"""The file that a run locks while it writes to the folder."""

SAMPLES, NEW_SAMPLES = ".parquet", ".parquet.new"
"""The endings of a cell's samples: those of its record or of its first pass, and those of a pass beside a record."""

_CELL_STEM = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*-[0-9a-f]{12}")
"""A record's file name without ending; the cell's hash comes last."""

_LEFT_OVER = re.compile(
    rf"\.?({_CELL_STEM.pattern}\.(json|parquet|parquet\.new)|{re.escape(LAYERS)}|{re.escape(SEARCHES)})(\.[0-9]+)?\.tmp"
)
"""The temporary file of a write that was killed."""


def is_record_name(path: Path) -> bool:
    """Return True for the name of a record's file."""
    return _CELL_STEM.fullmatch(path.stem) is not None and path.suffix == ".json"


def record_paths(out: Path) -> list[Path]:
    """Return the paths in a results folder that are named as records, sorted, without hidden ones."""
    return sorted(path for path in out.glob("*/*/*.json") if is_record_name(path) and not _is_hidden(path, out))


def _is_hidden(path: Path, out: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(out).parts)


def _unchanged_layers(values: Any) -> ModelLayers:
    """Return the layers of these values. Raises DataError unless their digest is right; earlier files have none."""
    found = ModelLayers.from_json(values)
    known = digest(found.to_json())
    if values.get("digest", known) != known:
        raise DataError("it was changed after it was written")
    return found


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
            lock = (self.out / LOCK).open("w")
        except OSError as error:
            raise UsageError(f"cannot write to {self.out} ({error.strerror}); choose another --out") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(
                    f"another run is writing to {self.out}; wait for it or choose another --out"
                ) from error
            for left_over in (*self.out.glob("*/*.tmp"), *self.out.glob("*/*/*.tmp")):
                if _LEFT_OVER.fullmatch(left_over.name):
                    left_over.unlink(missing_ok=True)
            try:
                yield
            except BaseException:
                if created and not any(path.name != LOCK for path in self.out.iterdir()):
                    (self.out / LOCK).unlink()
                    with suppress(OSError):  # a folder above it may have got something else meanwhile
                        for folder in created:
                            folder.rmdir()
                raise

    def records(self) -> list[Record]:
        """Return all records, by path. Raises UsageError without a folder, DataError for an unreadable record.

        Files and folders of other programs are passed over: hidden ones, copies under another name, and notes.
        """
        if not self.out.is_dir():
            raise UsageError(f"no results in {self.out}; run 'codecbench run --out {self.out}' first")
        found = list[Record]()
        for each in self.scan():
            if isinstance(each, DataError):
                raise each
            found.append(each)
        return found

    def scan(self) -> Iterator[Record | DataError]:
        """Yield each record by path, or the error of one that cannot be read; nothing without a folder."""
        for path in filter(Path.is_file, record_paths(self.out)):
            record = _read_or_error(path)
            if isinstance(record, DataError) or path == self.path_of(record):
                yield record

    def path_of(self, record: Record) -> Path:
        """Return where the record of a cell lies."""
        return self._path(CellKey(**record.key.model_dump()), ".json")

    def find(self, key: CellKey) -> Record | None:
        """Return the record of a cell, or None if there is none or its samples are missing.

        Raises DataError if the record is unreadable or its samples are damaged.
        """
        path = self._path(key, ".json")
        if not path.is_file():
            return None
        record = _read(path)
        if record.samples is not None:
            samples = path.with_name(record.samples.file)
            if not samples.exists():
                return None
            _check_sum(samples, record.samples.sha256)
        return record

    def samples(self, record: Record, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return the per-sample columns of a record, or the named ones.

        Raises DataError if the file is missing or damaged.

        Columns: subset ("test" or "choice"), sample_id, payload_bytes, the outcomes of the workload's metrics and those
        of its full model (see `codecbench.results.outcomes`), bound_bytes if the codec gives bounds, and psnr_db and
        ssim for an image input.
        """
        import pyarrow.parquet as pq

        if record.samples is None:
            raise DataError(f"cell {record.cell} ({record.status}) has no samples")
        path = self._samples_path(record, record.samples)
        _check_sum(path, record.samples.sha256)
        return from_table(pq.read_table(path, columns=None if names is None else list(names)))

    def set_values(self, record: Record, task: Task) -> SetValues:
        """Return the values of a set metric of a record. Raises DataError if its file is missing or has none."""
        import pyarrow.parquet as pq

        if record.samples is None or task.value is None:
            raise DataError(f"cell {record.cell} ({record.status}) has no {task.metric}")
        path = self._samples_path(record, record.samples)
        _check_sum(path, record.samples.sha256)
        try:
            values = json.loads(pq.read_schema(path).metadata[PARTIAL])[RESAMPLED][task.metric]
            return SetValues(task.value, resampled_from(values))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} has no values of {task.metric} for resamples; run the cell again") from error

    def has_samples(self, record: Record) -> bool:
        """Return True if the Parquet file of a record is there: a record may have been copied alone."""
        return record.samples is not None and self._samples_path(record, record.samples).exists()

    def samples_fault(self, record: Record) -> str | None:
        """Return what is wrong with the Parquet file of a record, or None if nothing is, or the record has none."""
        try:
            if record.samples is not None:
                _check_sum(self._samples_path(record, record.samples), record.samples.sha256)
        except DataError as error:
            return str(error)
        return None

    def adopt(self, record: Record, source: Store) -> None:
        """Copy a record and its samples from another folder; it replaces that of its cell, if there is one."""
        key = CellKey(**record.key.model_dump())
        if record.samples is not None:
            named = record.samples.model_copy(update={"file": self._pass_path(key).name})
            self._write(self._pass_path(key), source._samples_path(record, record.samples).read_bytes())
            record = record.model_copy(update={"samples": named})
        self.write(key, record)

    def _samples_path(self, record: Record, samples: Samples) -> Path:
        return self.path_of(record).with_name(samples.file)

    def write_samples(
        self, key: CellKey, columns: Mapping[str, NDArray[np.generic]], partial: Mapping[str, Any]
    ) -> Samples:
        """Write the per-sample columns, and the values of `partial` into the file's metadata; see `partial`.

        Samples of a record stay as they are, until `write` replaces it.
        """
        content = parquet(columns, {PARTIAL: json.dumps(partial, sort_keys=True).encode()})
        path = self._pass_path(key)
        self._write(path, content)
        return Samples(file=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=len(columns["payload_bytes"]))

    def partial(self, key: CellKey) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Samples] | None:
        """Return columns and metadata of a finished accuracy pass, or None if it is missing or unreadable."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._pass_path(key)
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path)
            columns = from_table(table)
            values = json.loads(table.schema.metadata[PARTIAL])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            return None
        return columns, values, Samples(file=path.name, sha256=_sha256(path), rows=table.num_rows)

    def write(self, key: CellKey, record: Record) -> None:
        """Write a record, which completes its cell and replaces an earlier record with its samples."""
        path, samples, beside = (self._path(key, ending) for ending in (".json", SAMPLES, NEW_SAMPLES))
        if record.samples is not None and record.samples.file == beside.name:
            if _sum_or_none(samples) != record.samples.sha256:
                # The record is the new one from here on; a run that finds it so does the rest, by `settle`.
                self._write(path, record.to_text().encode())
            self._write(samples, beside.read_bytes())
            record = record.model_copy(update={"samples": record.samples.model_copy(update={"file": samples.name})})
        self._write(path, record.to_text().encode())
        self.forget_pass(key, record)

    def settle(self, key: CellKey, record: Record) -> Record:
        """Finish the replacement of a record that was interrupted, if there is one; return the record as it is then."""
        if record.samples is None or record.samples.file != self._path(key, NEW_SAMPLES).name:
            return record
        self.write(key, record)
        return self.find(key) or record

    def forget_pass(self, key: CellKey, record: Record) -> None:
        """Remove the samples of the cell that its record does not name: those of a pass that is not wanted any more."""
        named = record.samples.file if record.samples is not None else None
        for path in (self._path(key, SAMPLES), self._path(key, NEW_SAMPLES)):
            if path.name != named:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def layers(self, workload: str) -> ModelLayers | None:
        """Return the layers of a workload's full model, or None if no run has written them.

        Raises DataError if the file is damaged.
        """
        path = self._layers_path(workload)
        if not path.is_file():
            return None
        try:
            return _unchanged_layers(json.loads(decoded(path.read_bytes())))
        except (OSError, ValueError, RecursionError, DataError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it and run again") from error

    def all_layers(self) -> dict[str, ModelLayers]:
        """Return the layers of all workloads that have them, by name. Raises DataError as `layers` does."""
        names = sorted(path.parent.name for path in self.out.glob(f"*/{LAYERS}") if not _is_hidden(path, self.out))
        return {name: found for name in names if (found := self.layers(name)) is not None}

    def write_layers(self, workload: str, layers: ModelLayers) -> None:
        """Write the layers of a workload's full model beside the folders of its splits."""
        rows = layers.to_json()
        rows = {"digest": digest(rows), **rows}
        described = ",\n".join(json.dumps(row) for row in rows.pop("layers"))
        text = json.dumps(rows, indent=1)[:-2] + f',\n "layers": [\n{described}\n]\n}}\n'
        self._write(self._layers_path(workload), text.encode())

    def searches(self, workload: str) -> dict[str, Any]:
        """Return what searches for operating points have found for a workload, by key; empty if it cannot be read."""
        try:
            found = json.loads(decoded((self.out / workload / SEARCHES).read_bytes()))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_searches(self, workload: str, found: Mapping[str, Any]) -> None:
        """Write what all searches of a workload have found."""
        self._write(self.out / workload / SEARCHES, (json.dumps(found, indent=1) + "\n").encode())

    def _layers_path(self, workload: str) -> Path:
        return self.out / workload / LAYERS

    def _path(self, key: CellKey, ending: str) -> Path:
        return self.out / key.folder / (key.stem + ending)

    def _pass_path(self, key: CellKey) -> Path:
        """Return where an accuracy pass keeps its samples: beside those of the cell's record if it has one."""
        return self._path(key, NEW_SAMPLES if self._path(key, ".json").exists() else SAMPLES)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        except OSError as error:
            raise DataError(
                f"cannot write {path}: {reason_of(error)}; earlier records are kept, so run the same command again"
            ) from error


def is_locked(out: Path) -> bool:
    """Return True if a run is writing to a results folder."""
    try:
        with (out / LOCK).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> Record:
    try:
        text = decoded(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run again") from error
    return parse(text, str(path))


def _read_or_error(path: Path) -> Record | DataError:
    try:
        return _read(path)
    except DataError as error:
        return error


def _check_sum(path: Path, expected: str) -> None:
    found = _sum_or_none(path) or "no file"
    if found != expected:
        raise DataError(f"{path} is damaged: expected sha256 {expected}, found {found}; run the cell again")


def _sum_or_none(path: Path) -> str | None:
    return _sha256(path) if path.is_file() else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
