"""The report's comparison with the paper: published rows beside ours, each reproduced or not, with the reason."""

from __future__ import annotations

from codecbench.analysis import paper
from codecbench.analysis.paper import Beside, Comparison
from codecbench.report import page as report_page
from codecbench.report.subject import Subject, listed
from codecbench.tables import document as layout
from codecbench.tables.formats import short

_SIGNS = {"reproduced": "\N{CHECK MARK}", "not reproduced": "\N{BALLOT X}", "not comparable": "\N{EN DASH}"}


def beside_paper(subject: Subject) -> str:
    """The section, or nothing where no cell was measured."""
    found = paper.beside(subject.records)
    if found is None:
        return ""
    assert subject.task is not None
    lead = report_page.paragraph(
        f"{report_page.text(found.published.title)}. The paper measured another model on another dataset: its metric "
        f"is {report_page.text(found.published.metric)}, ours is {report_page.text(subject.task.metric)} of "
        f"{report_page.text(subject.workload)}. Compare shares and changes, not sizes and values.",
        "lead",
    )
    rule = report_page.paragraph(f"<strong>The rule.</strong> {report_page.text(paper.RULE)}")
    return report_page.section(
        subject.level, subject.place("paper"), "Beside the paper", lead, rule, _sizes(subject, found),
        _summary(subject, found), _comparisons(subject, found),
    )  # fmt: skip


def _sizes(subject: Subject, found: Beside) -> str:
    """What a payload pays once weighs more in a small tensor: said with the sizes of both inputs."""
    theirs = next((found.published.entries["Offload", s].payload_bytes for s in found.published.splits), None)
    ours = next((r.tensor.raw_bytes for r in subject.measured if r.tensor and r.key.split == "input"), None)
    if not (theirs and ours):
        return ""
    return report_page.paragraph(
        f"At the input, our raw float32 tensor has {ours:,.0f} bytes and the paper's {theirs:,.0f}. What a payload "
        "pays once, such as a header or a table, weighs the more the smaller the tensor."
    )


def _summary(subject: Subject, found: Beside) -> str:
    pairs = dict.fromkeys((comparison.system, comparison.row) for comparison in found.comparisons)
    lines = []
    for system, row in pairs:
        counts = found.counts(system, row)
        told = (row or "no such codec in these records", *(str(count) for count in counts.values()))
        lines.append((system, told))
    headings = ("our row", "reproduced", "not reproduced", "not comparable")
    block = report_page.rows("the paper's row", headings, "lrrr", lines)
    return report_page.table(subject.ids, block, "How many split points of each published row are reproduced")


def _comparisons(subject: Subject, found: Beside) -> str:
    assert subject.task is not None
    decimals = found.published.decimals
    lines = tuple((comparison.system, _cells(comparison, decimals)) for comparison in found.comparisons)
    theirs, ours = f"change, {found.published.metric}", f"change, {subject.task.metric}"
    groups = (
        layout.Group("published", ("split", "% of raw", theirs), ("left", "right", "right")),
        layout.Group("ours", ("row", "split", "% of raw", ours), ("left", "left", "right", "left")),
        layout.Group("verdict", ("verdict", "why"), ("left", "left")),
        layout.Group("our point", ("point",), ("left",)),
    )
    block = layout.Block("the paper's row", groups, lines)
    caption = f"Published rows beside ours: {listed(found.published.rows)}"
    return report_page.table(subject.ids, block, caption)


def _cells(comparison: Comparison, decimals: int) -> tuple[layout.Cell, ...]:
    published, record = comparison.published, comparison.record
    ours = ["-", "-"]
    if record is not None and record.task is not None:
        task = record.task
        paired = layout.with_interval(task.change, task.change_low, task.change_high, f"+.{task.decimals}f")
        ours = [short(comparison.share), paired]
    change = layout.with_interval(published.change, None, None, f"+.{decimals}f")
    texts = (
        published.split, short(published.payload_percent), change,
        comparison.row or "-", comparison.split or "-", *ours, f"{_SIGNS[comparison.verdict]} {comparison.verdict}",
        comparison.reason, paper.point_of(comparison) or "-",
    )  # fmt: skip
    return tuple(layout.Cell(each) for each in texts)
