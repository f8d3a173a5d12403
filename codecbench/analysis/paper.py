"""Compares records with the paper's numbers: matching rows and splits, and a verdict for each pair.

Sizes are compared as shares of the raw float32 tensor, at the loss that the paper (Yao et al., SenSys 2020) accepted.
Splits are paired by raw size where the inputs are of equal size: the paper's blocks 1 to 4 are the pooled stem and
stages 2 to 4 of a ResNet-50. For any other model they are paired in the order of depth: the input with the input, our
first split after it with the paper's first block, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from codecbench.analysis.budget import Entry
from codecbench.analysis.published import PublishedPoint, PublishedTable, published_points, published_tables
from codecbench.analysis.selection import (
    LOSS_TOLERANCE,
    change_of,
    choose,
    groups,
    loss_of,
    percent_of,
    sign_of,
    splits_in_order,
    undefined_reason,
)
from codecbench.descriptions.splits import INPUT
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Task

RAW = "Offload"
"""The paper's system that sends the raw tensor."""

PICTURE_BYTES = 4 * 3 * 224 * 224
"""The raw size of a picture of ImageNet as networks usually take it."""

OUR_ROWS: Mapping[str, tuple[str, ...]] = {
    "DeepCOD": ("deepcod (fixed)", "deepcod (entropy)", "deepcod-rd"),
    "Offload-CS": ("cs-dct (faithful)", "cs-dct (best)", "cs-wavelet (faithful)", "cs-wavelet (best)"),
    "Offload-Intp": ("interpolation",),
    "Offload-Lossy": ("jpeg-huffman (own)", "jpeg-huffman (shared)"),
    "Offload-AE+": ("ae-plus",),
    RAW: ("raw (float32)",),
}
"""The paper's systems, and our rows that implement them."""

FACTOR = 1.25
"""The largest ratio of our share of raw to the published share that counts as reproduced."""

Verdict: TypeAlias = Literal["reproduced", "not reproduced", "not comparable"]

RULE = (
    "Each published row is set beside the smallest payload of ours that loses no more than that row lost, chosen on "
    "held-out samples; split points stand side by side by the raw size of their tensors where the inputs are of equal "
    "size, else in the order of depth. A row is reproduced where our share of "
    f"the raw float32 tensor is at most {FACTOR:g} times the published share, and our loss on the test samples is not "
    "shown to be greater than the published one (the 95 % interval of the paired change reaches it). Smaller is "
    "reproduced, too: many published baselines were not tuned. A row is not comparable where these records lack the "
    "system or the split point, or measure the loss in another unit."
)


@dataclass(frozen=True)
class RowComparison:
    """One published row at one split, and our record at the matching split, None where there is none.

    `share` is our payload in percent of the raw tensor.
    """

    system: str
    published: Entry
    verdict: Verdict
    reason: str
    row: str = ""
    split: str = ""
    record: Record | None = None
    share: float | None = None


@dataclass(frozen=True)
class PaperComparison:
    """A published table, and the comparison of each of its rows and splits with the records of one workload."""

    published: PublishedTable
    comparisons: tuple[RowComparison, ...]

    def counts(self, system: str, row: str) -> Mapping[Verdict, int]:
        """Returns the number of splits with each verdict, for a system and a row of ours."""
        verdicts: dict[Verdict, int] = {"reproduced": 0, "not reproduced": 0, "not comparable": 0}
        for comparison in self.comparisons:
            if (comparison.system, comparison.row) == (system, row):
                verdicts[comparison.verdict] += 1
        return verdicts


def compare_with_paper(records: Sequence[Record]) -> PaperComparison | None:
    """Returns the comparison of the records of one workload and sample set with a table of the paper.

    It is the published table whose metric has the same direction. Returns None where nothing was measured.
    """
    measured = [record for record in records if record.status == "ok"]
    task = next((record.task for record in measured if record.task), None)
    if task is None:
        return None
    published = next(table for table in published_tables() if table.higher_is_better == task.higher_is_better)
    counterparts = _counterparts(published, measured)
    rows = {record.row for record in measured}
    comparisons = []
    for system in published.rows:
        known = [row for row in OUR_ROWS.get(system, ()) if row in rows] or [""]
        for row in known:
            for split in published.splits:
                entry, ours = published.entries[system, split], counterparts.get(split, "")
                found = [r for r in measured if r.row == row and r.key.split == ours]
                comparisons.append(_compare(system, entry, row, ours, found, task, published.unit))
    return PaperComparison(published, tuple(comparisons))


def comparable_points(records: Sequence[Record]) -> tuple[PublishedPoint, ...]:
    """Returns other systems' points of the same metrics, if the records are of pictures of the same size."""
    measured = [record for record in records if record.status == "ok" and record.tensor]
    metrics = {task.metric for record in measured for task in (record.task, *record.others) if task}
    sizes = {record.tensor.raw_bytes for record in measured if record.tensor and record.key.split == INPUT}
    if PICTURE_BYTES not in sizes:
        return ()
    return tuple(point for point in published_points() if point.metric in metrics)


def _counterparts(published: PublishedTable, measured: Sequence[Record]) -> dict[str, str]:
    """Returns our split for each of theirs that has one: by raw size if the inputs are of equal size, else by depth."""
    ours = splits_in_order(measured)
    sizes = {record.key.split: float(record.tensor.raw_bytes) for record in measured if record.tensor}
    raw = {split: published.entries[RAW, split].payload_bytes for split in published.splits}
    if sizes.get(INPUT) is None or sizes[INPUT] != raw.get(INPUT):
        pairs = zip((s for s in published.splits if s != INPUT), (s for s in ours if s != INPUT), strict=False)
        return {**({INPUT: INPUT} if INPUT in ours else {}), **dict(pairs)}
    found, left = dict[str, str](), list(ours)
    for split in published.splits:
        fitting = next((own for own in left if sizes.get(own) == raw[split]), None)
        if fitting is not None:
            found[split] = fitting
            left = left[left.index(fitting) + 1 :]  # depth decides between splits of one size
    return found


def _compare(
    system: str, published: Entry, row: str, split: str, found: Sequence[Record], task: Task, unit: str
) -> RowComparison:
    def result(
        verdict: Verdict, reason: str, record: Record | None = None, share: float | None = None
    ) -> RowComparison:
        return RowComparison(system, published, verdict, reason, row, split, record, share)

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
    accepted = max(0.0, -sign_of(task) * published.change)
    chosen = choose(found, accepted)
    if chosen is None:
        return result("not comparable", undefined_reason(found[0]))
    record = chosen.record
    tensor, size, own_task, _ = groups(record)
    own_change = change_of(own_task)
    assert own_change is not None
    share = percent_of(size.payload_bytes.mean, tensor.raw_bytes) or 0.0
    ratio = share / published.payload_percent
    min_loss = loss_of(own_change, task).low
    if chosen.over_budget:
        return result("not reproduced", f"no point loses as little as {accepted:g}; this is the nearest", record, share)
    if ratio > FACTOR:
        return result("not reproduced", f"{ratio:.3g} times the share", record, share)
    if min_loss > accepted + LOSS_TOLERANCE:
        return result("not reproduced", f"on the test samples it loses more than {accepted:g}", record, share)
    return result("reproduced", f"{ratio:.3g} times the share", record, share)


def point_of(comparison: RowComparison) -> str:
    """Returns the label of our operating point, empty where there is none."""
    return point_label(comparison.record.key.point) if comparison.record else ""
