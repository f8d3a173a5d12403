"""The paper's numbers beside those of records: which rows are the same system, and whether they agree.

The paper measured another model on another dataset, so sizes are compared as shares of the raw float32 tensor, at the
loss that the paper accepted. Split points stand side by side in the order of their depth: the input beside the input,
our first split point behind it beside the paper's first block, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from codecbench.analysis.budget import Entry
from codecbench.analysis.published import PublishedTable, published_tables
from codecbench.analysis.selection import choose, groups, splits_in_order
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Task

OUR_ROWS: Mapping[str, tuple[str, ...]] = {
    "DeepCOD": ("deepcod (fixed)", "deepcod (entropy)", "deepcod-rd"),
    "Offload-CS": ("cs-dct (faithful)", "cs-dct (best)", "cs-wavelet (faithful)", "cs-wavelet (best)"),
    "Offload-Intp": ("interpolation",),
    "Offload-Lossy": ("jpeg-huffman (own)", "jpeg-huffman (shared)"),
    "Offload-AE+": ("ae-plus",),
    "Offload": ("raw (float32)",),
}
"""The paper's systems, and our rows that do the same."""

FACTOR = 1.25
"""How many times the published share of raw ours may be and still count as reproduced."""

Verdict: TypeAlias = Literal["reproduced", "not reproduced", "not comparable"]

RULE = (
    "Each published row is set beside the smallest payload of ours that loses no more than that row lost, chosen on "
    "held-out samples; split points stand side by side in the order of depth. A row is reproduced where our share of "
    f"the raw float32 tensor is at most {FACTOR:g} times the published share, and our loss on the test samples is not "
    "shown to be greater than the published one (the 95 % interval of the paired change reaches it). Smaller is "
    "reproduced, too: many published baselines were not tuned. A row is not comparable where these records lack the "
    "system or the split point, or measure the loss in another unit."
)

_EPSILON = 1e-9


@dataclass(frozen=True)
class PublishedComparison:
    """One published row at one split beside ours, if any. `share` is our payload in percent of raw."""

    system: str
    published: Entry
    verdict: Verdict
    reason: str
    row: str = ""
    split: str = ""
    record: Record | None = None
    share: float | None = None


@dataclass(frozen=True)
class Beside:
    """A published table, and its rows beside those of one workload."""

    published: PublishedTable
    comparisons: tuple[PublishedComparison, ...]

    def counts(self, system: str, row: str) -> Mapping[Verdict, int]:
        """The number of times that each verdict was given for a system and a row of ours."""
        verdicts: dict[Verdict, int] = {"reproduced": 0, "not reproduced": 0, "not comparable": 0}
        for comparison in self.comparisons:
            if (comparison.system, comparison.row) == (system, row):
                verdicts[comparison.verdict] += 1
        return verdicts


def beside(records: Sequence[Record]) -> Beside | None:
    """The paper's table of the same direction of metric beside the records of one workload and sample set.

    None where nothing was measured.
    """
    measured = [record for record in records if record.status == "ok"]
    task = next((record.task for record in measured if record.task), None)
    if task is None:
        return None
    published = next(table for table in published_tables() if table.higher_is_better == task.higher_is_better)
    counterparts = _counterparts(published.splits, splits_in_order(measured))
    rows = {record.row for record in measured}
    comparisons = []
    for system in published.rows:
        known = [row for row in OUR_ROWS.get(system, ()) if row in rows] or [""]
        for row in known:
            for split in published.splits:
                entry, ours = published.entries[system, split], counterparts.get(split, "")
                found = [r for r in measured if r.row == row and r.key.split == ours]
                comparisons.append(_compare(system, entry, row, ours, found, task, published.unit))
    return Beside(published, tuple(comparisons))


def _counterparts(theirs: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """Our split point for each of theirs, as far as there are so many."""
    pairs = zip((s for s in theirs if s != "input"), (s for s in ours if s != "input"), strict=False)
    return {**({"input": "input"} if "input" in ours else {}), **dict(pairs)}


def _compare(
    system: str, published: Entry, row: str, split: str, found: Sequence[Record], task: Task, unit: str
) -> PublishedComparison:
    def result(
        verdict: Verdict, reason: str, record: Record | None = None, share: float | None = None
    ) -> PublishedComparison:
        return PublishedComparison(system, published, verdict, reason, row, split, record, share)

    if not row:
        return result("not comparable", "no row of these records is this system")
    if task.unit != unit:
        return result("not comparable", f"the metric {task.metric} is in another unit than the published one")
    if not split:
        return result("not comparable", "these records have no split point in this place")
    if not found:
        return result("not comparable", "not measured at this split point")
    assert published.change is not None
    assert published.payload_percent is not None
    accepted = max(0.0, -published.change if task.higher_is_better else published.change)
    record, over, _ = choose(found, accepted)
    tensor, size, own_task, _ = groups(record)
    share = 100 * size.payload_bytes.mean / (tensor.raw_bytes or 1)
    ratio = share / published.payload_percent
    min_loss = -own_task.change_high if task.higher_is_better else own_task.change_low
    if over:
        return result("not reproduced", f"no point loses as little as {accepted:g}; this is the nearest", record, share)
    if ratio > FACTOR:
        return result("not reproduced", f"{ratio:.3g} times the share", record, share)
    if min_loss > accepted + _EPSILON:
        return result("not reproduced", f"on the test samples it loses more than {accepted:g}", record, share)
    return result("reproduced", f"{ratio:.3g} times the share", record, share)


def point_of(comparison: PublishedComparison) -> str:
    """Our operating point, for people; empty without one."""
    return point_label(comparison.record.key.point) if comparison.record else ""
