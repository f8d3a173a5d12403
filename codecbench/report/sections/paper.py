"""The report's comparison with the paper: each published row with ours, reproduced or not, and the reason."""

from __future__ import annotations

from codecbench.analysis import paper
from codecbench.analysis.paper import PaperComparison, RowComparison
from codecbench.report import views
from codecbench.report.page import Section
from codecbench.report.subject import Subject, listed
from codecbench.report.views import TableView
from codecbench.tables import reservations
from codecbench.tables.document import Cell, Group, TableBlock, with_interval
from codecbench.tables.formats import short

_SIGNS = {"reproduced": "\N{CHECK MARK}", "not reproduced": "\N{BALLOT X}", "not comparable": "\N{EN DASH}"}


def paper_comparison(subject: Subject) -> Section | None:
    """Returns the section, or None where no cell was measured."""
    found = paper.compare_with_paper(subject.records)
    if found is None:
        return None
    assert subject.task is not None
    values = {
        "title": found.published.title,
        "their_metric": found.published.metric,
        "our_metric": subject.task.metric,
        "workload": subject.workload,
        "rule": paper.RULE,
        "input_bytes": _input_bytes(subject, found),
        "summary": _summary(subject, found),
        "comparisons": _comparisons(subject, found),
        "reservations": reservations.of_records(each.record for each in found.comparisons if each.record).sentences,
    }
    return Section("paper.html", subject.level, subject.place("paper"), "Beside the paper", values)


def _input_bytes(subject: Subject, found: PaperComparison) -> dict[str, str] | None:
    """Returns the sizes of both raw inputs as texts, or None where one is unknown."""
    theirs = next((found.published.entries["Offload", s].payload_bytes for s in found.published.splits), None)
    ours = next((r.tensor.raw_bytes for r in subject.measured if r.tensor and r.key.split == "input"), None)
    return {"ours": f"{ours:,.0f}", "theirs": f"{theirs:,.0f}"} if theirs and ours else None


def _summary(subject: Subject, found: PaperComparison) -> TableView:
    pairs = dict.fromkeys((comparison.system, comparison.row) for comparison in found.comparisons)
    lines = []
    for system, row in pairs:
        counts = found.counts(system, row)
        texts = (row or "no such codec in these records", *(str(count) for count in counts.values()))
        lines.append((system, texts))
    headings = ("our row", "reproduced", "not reproduced", "not comparable")
    block = views.rows("the paper's row", headings, "lrrr", lines)
    return views.table(subject.ids, block, "How many split points of each published row are reproduced")


def _comparisons(subject: Subject, found: PaperComparison) -> TableView:
    assert subject.task is not None
    decimals = found.published.decimals
    lines = tuple((comparison.system, _cells(comparison, decimals)) for comparison in found.comparisons)
    theirs, ours = f"change, {found.published.metric}", f"change, {subject.task.metric}"
    groups = (
        Group("published", ("split", "% of raw", theirs), ("left", "right", "right")),
        Group("ours", ("row", "split", "% of raw", ours), ("left", "left", "right", "left")),
        Group("verdict", ("verdict", "why"), ("left", "left")),
        Group("our point", ("point",), ("left",)),
    )
    block = TableBlock("the paper's row", groups, lines)
    caption = f"Published rows beside ours: {listed(found.published.rows)}"
    return views.table(subject.ids, block, caption)


def _cells(comparison: RowComparison, decimals: int) -> tuple[Cell, ...]:
    published, record = comparison.published, comparison.record
    ours = ["-", "-"]
    if record is not None and record.task is not None:
        task = record.task
        paired = with_interval(task.change, task.change_low, task.change_high, f"+.{task.decimals}f")
        ours = [short(comparison.share), paired]
    change = with_interval(published.change, None, None, f"+.{decimals}f")
    texts = (
        published.split, short(published.payload_percent), change,
        comparison.row or "-", comparison.split or "-", *ours, f"{_SIGNS[comparison.verdict]} {comparison.verdict}",
        comparison.reason, paper.point_of(comparison) or "-",
    )  # fmt: skip
    return tuple(Cell(each) for each in texts)
