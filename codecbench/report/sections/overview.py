"""The overview of a workload in the report: what was measured, and where."""

from __future__ import annotations

from collections import Counter

from codecbench.analysis.selection import undefined_reason
from codecbench.names import counted
from codecbench.report.subject import Subject, listed
from codecbench.tables import reservations


def overview(subject: Subject) -> dict[str, object]:
    """Returns the values of `overview.html`."""
    records = subject.records
    counts = Counter(record.status for record in records)
    outcomes = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed") if counts[status])
    where = [record.provenance for record in records]
    machines = sorted({f"{p.cpu}, {p.cores} cores, {p.threads} used by each step" for p in where})
    packages = sorted({f"{n} {p.packages[n]}" for p in where for n in ("torch", "numpy") if n in p.packages})
    versions = sorted({f"codecbench {p.codecbench}, Python {p.python}" for p in where})
    days = sorted(p.started_utc[:10] for p in where)
    commits = sorted({p.git[:12] for p in where if p.git})
    grid = f"{counted(len(subject.codec_names), 'codec')} at {counted(len(subject.splits), 'split point')}"
    versions += [", ".join(packages)] if packages else []
    pairs = [
        ("workload", subject.workload),
        ("cells", f"{len(records):,} ({outcomes}): {grid}"),
        ("samples", _samples(subject)),
        ("machine", listed(machines)),
        *([("isolation", _isolation(subject))] if subject.measured else []),
        ("versions", "; ".join([*versions, *(f"commit {commit}" for commit in commits)])),
        ("measured", days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"),
    ]  # fmt: skip
    if subject.task:
        pairs.insert(3, ("uncompressed model", _uncompressed(subject)))
    return {"facts": pairs, "left_out": subject.left_out}


def _samples(subject: Subject) -> str:
    tested = sorted({record.task.n for record in subject.measured if record.task})
    chosen = sorted({record.choice.n for record in subject.measured if record.choice})
    key = subject.records[0].key
    text = f"{listed(tested)} test samples ({key.sample_set}), seed {key.seed}"
    return f"{text}; points chosen on {listed(chosen)} others" if chosen else f"{text}; points chosen on the same"


def _isolation(subject: Subject) -> str:
    """Returns the reservations, or that there are none."""
    return " ".join(reservations.of_records(subject.measured).sentences) or "the kernel's, in all measured cells"


def _uncompressed(subject: Subject) -> str:
    assert subject.task is not None
    task = subject.task
    better = "higher is better" if task.higher_is_better else "lower is better"
    if task.uncompressed is None:
        return undefined_reason(subject.measured[0])
    value = f"{task.uncompressed:.{task.decimals}f} {task.unit}".strip()
    return f"{task.metric} {value} ({better}); accepted loss {subject.budget:g}"
