"""The payload sizes of a record's test samples, from the Parquet files beside the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codecbench.results.record import Record
from codecbench.results.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SizeCounts(NamedTuple):
    """The different payload sizes in bytes, and how many test samples have each."""

    payload_bytes: NDArray[np.int64]
    counts: NDArray[np.int64]


class PayloadSizes:
    """Reads the payload sizes of records in a results folder, each once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, SizeCounts] = {}

    def __call__(self, record: Record) -> SizeCounts | None:
        """Return the sizes of a record's test samples, None without its Parquet file.

        Raises DataError if the file is damaged.
        """
        if record.samples is None or not self.store.has_samples(record):
            return None
        checksum = record.samples.sha256
        if checksum not in self._known:
            self._known[checksum] = self._read(record)
        return self._known[checksum]

    def _read(self, record: Record) -> SizeCounts:
        import numpy as np

        columns = self.store.samples(record, ("subset", "payload_bytes"))
        sizes, counts = np.unique(columns["payload_bytes"][columns["subset"] == "test"], return_counts=True)
        return SizeCounts(sizes, counts)
