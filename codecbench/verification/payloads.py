"""Encodes samples of records again, where codec, model and data are here, and compares the payloads' digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codecbench.errors import CodecbenchError
from codecbench.experiment.cells import Reporter
from codecbench.experiment.config import RunConfig
from codecbench.harness.provenance import machine
from codecbench.harness.requests.opened_record import opened_cell
from codecbench.results.digests import payload_sha256
from codecbench.results.record import Record


@dataclass(frozen=True)
class EncodedAgain:
    """The number of payloads that were compared; a line for each record whose payloads differ, or was passed over."""

    payloads: int
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def encode_again(config: RunConfig, records: Sequence[Record], count: int, reporter: Reporter) -> EncodedAgain:
    """Encode the digested test samples of `count` records, drawn by chance but always the same.

    `config` gives plugins, data folder, cache and time limits. A record is passed over where it cannot be encoded here,
    or by another source than that of its record: that says nothing about it.
    """
    possible = [record for record in records if record.status == "ok" and record.digests and record.task]
    order = np.random.default_rng(0).permutation(len(possible))[:count]
    drawn = [possible[at] for at in order]
    payloads, faults, remarks = 0, list[str](), list[str]()
    for record in sorted(drawn, key=lambda each: (each.key.workload, each.key.split, each.cell)):
        try:
            compared, different = _compared(config, record, reporter)
        except CodecbenchError as error:
            remarks.append(f"cell {record.cell} is not encoded again: {error}")
            continue
        payloads += compared
        if different:
            line = (
                f"cell {record.cell} ({record.key.split}, {record.row}): {different} of {compared} payloads are others"
            )
            here = machine()
            same = (record.provenance.cpu, record.provenance.packages.get("torch")) == (
                here["cpu"], here["packages"].get("torch"),
            )  # fmt: skip
            (faults if same else remarks).append(line if same else f"{line}, on another CPU or torch than its record's")
    return EncodedAgain(payloads, tuple(faults), tuple(remarks))


def _compared(config: RunConfig, record: Record, reporter: Reporter) -> tuple[int, int]:
    """Return the numbers of payloads that were compared and that differ."""
    assert record.digests is not None
    assert record.task is not None
    of_workload = config.model_copy(update={"workload": record.key.workload, "preset": "full"})
    with opened_cell(of_workload, record, record.task.n, reporter, fits=False, same=True) as opened:
        position = {each: at for at, each in enumerate(opened.job.grid.sample_ids["test"])}
        found = [each for each in record.digests.samples if each.subset == "test"]
        activations = opened.activations([position[each.sample_id] for each in found])
        again = [payload_sha256(payload) for each in activations for payload in opened.encoder.encode_samples([each])]
    return len(found), sum(digest != each.payload for digest, each in zip(again, found, strict=True))
