"""A cell between its passes: what it keeps, what a later run continues from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.factories import make_info, make_key

from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.harness.scored_cell import ScoredCell
from codecbench.isolation.seal import Isolation
from codecbench.results.digests import PayloadChain, tensor_sha256
from codecbench.results.outcomes import Columns
from codecbench.results.record import Samples

SAMPLES = Samples(file="cell.parquet", sha256="0" * 64, rows=2)


@pytest.fixture
def scored() -> ScoredCell:
    return ScoredCell(PlannedCell(make_key(), make_info(), TensorSpec((2,))), FittedState(), digested=(1, 0))


def columns(*payload_bytes: int) -> Columns:
    return {"payload_bytes": np.array(payload_bytes), "numerator": np.array(payload_bytes) / 2}


def fill(scored: ScoredCell) -> None:
    scored.isolation = Isolation(7, seccomp=True)
    for number, payload in enumerate((b"one", b"three")):
        scored.chain.add(payload)
        scored.see(number, payload, np.array([number, 0.5], np.float32), keep=number == 0)
    scored.raw_bytes = 16
    scored.add(columns(3, 5))


def test_columns_are_joined_in_the_order_in_which_they_came(scored: ScoredCell) -> None:
    scored.add(columns(3, 5))
    scored.add(columns(1))
    assert (scored.rows, scored.columns["payload_bytes"].tolist()) == (3, [3, 5, 1])
    assert scored.columns["numerator"].tolist() == [1.5, 2.5, 0.5]


def test_a_decoded_tensor_is_kept_as_a_copy_where_there_is_room(scored: ScoredCell) -> None:
    tensor = np.ones(2, np.float32)
    scored.see(4, b"payload", tensor, keep=True)
    scored.see(9, b"payload", tensor, keep=False)
    tensor[:] = 0
    kept = scored.seen[4].tensor
    assert kept is not None
    assert kept.tolist() == [1, 1]
    assert scored.seen[9].tensor is None
    assert scored.seen[4].tensor_sha256 == scored.seen[9].tensor_sha256 == tensor_sha256(np.ones(2, np.float32))


def test_another_run_continues_from_plain_values(scored: ScoredCell) -> None:
    fill(scored)
    later = ScoredCell(scored.cell, scored.state, digested=scored.digested)
    later.resume(columns(3, 5), json.loads(json.dumps(scored.progress())), SAMPLES)
    assert (later.rows, later.raw_bytes, later.isolation, later.resumed) == (2, 16, scored.isolation, True)
    assert later.progress() == scored.progress()
    assert later.seen.keys() == {0, 1}
    assert later.samples == SAMPLES
    assert [seen.tensor for seen in later.seen.values()] == [None, None]
    for cell in (scored, later):
        cell.chain.add(b"last")
    whole = PayloadChain()
    for payload in (b"one", b"three", b"last"):
        whole.add(payload)
    assert scored.chain.hex == later.chain.hex == whole.hex


@pytest.mark.parametrize(
    "change", [{"chain": "f0"}, {"seen": {"first": ["a", "b"]}}, {"seen": {"1": ["a"]}}, {"isolation": {"level": 3}}]
)
def test_values_of_another_version_are_refused(scored: ScoredCell, change: dict[str, Any]) -> None:
    fill(scored)
    later = ScoredCell(scored.cell, scored.state, digested=scored.digested)
    with pytest.raises((KeyError, TypeError, ValueError, DataError)):
        later.resume(columns(3, 5), {**scored.progress(), **change}, SAMPLES)
    with pytest.raises(KeyError):
        later.resume(columns(3, 5), {}, SAMPLES)


def test_a_cell_that_forgets_is_as_new(scored: ScoredCell) -> None:
    fill(scored)
    scored.resumed = True
    scored.forget()
    assert (scored.rows, scored.raw_bytes, scored.seen, scored.resumed) == (0, 0, {}, False)
    assert scored.chain.hex == PayloadChain().hex
    scored.add(columns(8))
    assert scored.columns["payload_bytes"].tolist() == [8]
