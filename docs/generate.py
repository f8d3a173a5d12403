"""Rewrites the generated parts of the README and the pages in docs/, and the figures and tables that they link to.

Run `python docs/generate.py`; with `--check`, it only reports stale files.

A generated part lies between `<!-- generated: NAME -->` and `<!-- end -->`. Its contents come from the source: numbers
from the records in results/, commands from their definitions, hooks and the toolbox from their docstrings. Generators
write links from the project's root; they are then made relative to the page.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import posixpath
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from importlib import import_module
from itertools import pairwise, zip_longest
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from codecbench import hookspecs
from codecbench.analysis import curves, equal_accuracy, study
from codecbench.analysis.budget import Entry
from codecbench.analysis.equal_accuracy import RateAtLoss
from codecbench.analysis.paper import OUR_ROWS
from codecbench.analysis.published import PublishedTable, published_tables
from codecbench.api.choices import (
    DEFAULT_DEVICE,
    DEFAULT_EDGE,
    DEFAULT_LINK,
    DEFAULT_LINKS,
    installed_budgets,
    scenario,
)
from codecbench.api.headlines import headlines_of
from codecbench.api.tables import model_trainings
from codecbench.cli.main import app
from codecbench.codec import Codec
from codecbench.devices.profile import HOST
from codecbench.errors import CodecbenchError, DataError, UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.fitting import states
from codecbench.headlines.headline import Headline
from codecbench.names import pick
from codecbench.registry import codecs, manager, workloads
from codecbench.results.cell import point_label
from codecbench.results.record import Record
from codecbench.results.store import Store
from codecbench.system.files import write_file
from codecbench.tables import budget, reservations, training
from codecbench.tables import curves as curves_table
from codecbench.tables import equal_accuracy as equal_accuracy_table
from codecbench.tables.budget import CHOICE_MARKS, Table, choice_marks
from codecbench.tables.document import markdown
from codecbench.tables.papers import kinds, rendering
from codecbench.tables.papers.columns import MEANINGS, NAMES
from codecbench.tables.papers.sheet import PaperOptions, Sheet
from codecbench.tables.reservations import Reservations

ROOT = Path(__file__).resolve().parents[1]

SPLIT_FIGURE = "latency-by-split"
PREDICTED = {"device": DEFAULT_DEVICE, "edge": DEFAULT_EDGE}
"""The machines of the README's headline and figure, whose times are predicted."""

DEVICES = (DEFAULT_DEVICE, "raspberry-pi-4")
"""The devices of the recommendations."""

WHOLE_TEST = "whole-test"
"""The folder in results/ with records of the whole test set."""

SEEDS = "seeds"
"""The folder in results/ with records of equal points, fitted with several seeds."""

IDEA_ANCHORS = ("avif (steered)", "restored (avif)")
"""The rows that others are compared with at equal accuracy: the best picture codec with steering, and restored."""

FIGURES = "docs/results/figures"
TABLES = "docs/results/tables"
"""The folders of figures as SVG and of tables as LaTeX."""

API = ("codecbench", "codecbench.api", "codecbench.testing")
"""The modules whose public names docs/reference/api.md lists; a name that two of them have stands in the first."""

STATES = "states"
"""The folder of fitted states that no package ships."""

Generator: TypeAlias = Callable[[Path], str]

_BLOCK = re.compile(r"^<!-- generated: (\S+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"^<!-- (?:generated: .*|end) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+://)([^)\s]+)\)")


def main_table(root: Path) -> str:
    """Returns the default workload's table for its own budget."""
    return _default_table(root).render("md")


def headline(root: Path) -> str:
    """Returns the figure, the sentence and the table of the headline for the machines of PREDICTED."""
    (found,) = _headlines(root, DEFAULT_LINK, PREDICTED["device"])
    (drawing,) = (
        each for each in drawings(root) if each.name == f"{SPLIT_FIGURE}-{DEFAULT_LINK}-{PREDICTED['device']}"
    )
    picture = f"![{drawing.alt}](/{FIGURES}/{drawing.name}.svg)"
    return f"> {found.sentence}\n\n{picture}\n\n{markdown(found.document())}"


def whole_test_table(root: Path) -> str:
    """Returns tables of all points that were measured on the whole test set."""
    (found,) = curves.build(Store(root / "results" / WHOLE_TEST).records())
    return "\n".join(markdown(document) for document in curves_table.documents(found))


def ideas(root: Path) -> str:
    """Returns the bytes at equal accuracy of the rows at the input, on the whole test set, the most bytes first."""
    store = Store(root / "results" / WHOLE_TEST)
    records = [record for record in store.records() if record.key.split == "input"]
    rows = {record.row for record in records}
    budgets = installed_budgets(manager())
    anchors = [anchor for anchor in IDEA_ANCHORS if anchor in rows]
    (found,) = equal_accuracy.build(records, store.samples, budgets=budgets, anchors=anchors)
    rates = {split: dict(sorted(of_rows.items(), key=_bytes_last)) for split, of_rows in found.rates.items()}
    return markdown(equal_accuracy_table.document(replace(found, rates=rates)))


def _bytes_last(item: tuple[str, RateAtLoss]) -> float:
    size = item[1].payload_bytes
    return -size.value if size else 0.0


def seed_spread(root: Path) -> str:
    """Returns a table of points fitted with several seeds: payload and change of each seed, and their ranges."""
    by_point: dict[tuple[str, str], list[Record]] = {}
    for record in Store(root / "results" / SEEDS).records():
        if record.status == "ok":
            label = f"{record.key.codec} {point_label(record.key.point)}"
            by_point.setdefault((label, record.key.split), []).append(record)
    lines = [
        "| codec and point | split | seeds | payload bytes | range | change of the metric | range |",
        "|---|---|---|---|--:|---|--:|",
    ]
    for (label, split), found in sorted(by_point.items()):
        found.sort(key=lambda record: record.key.seed)
        sizes = [record.size.payload_bytes.mean for record in found if record.size]
        changes = [record.task.change for record in found if record.task and record.task.change is not None]
        cells = [
            label, split, ", ".join(str(record.key.seed) for record in found),
            ", ".join(f"{size:.1f}" for size in sizes), f"{max(sizes) - min(sizes):.1f}",
            ", ".join(f"{change:+.1f}" for change in changes), f"{max(changes) - min(changes):.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += _foot(reservations.of_records(record for found in by_point.values() for record in found))
    return "\n".join(lines) + "\n"


def training_times(root: Path) -> str:
    """Returns the table of fit times, with their share of the model's own training."""
    return training.render(_trainings(root), "md")


def _trainings(root: Path) -> list[training.TrainingTable]:
    return training.build(_records(root), model_trainings(manager()))


def _latex(sheets: Iterable[Sheet]) -> str:
    return rendering.render(sheets, PaperOptions(), "latex")


def published_table(root: Path) -> str:
    """Returns the paper's table whose metric has the same direction as the default workload's."""
    tables = _tables(root, _records(root), paper=True)
    return next(found for found in tables if found.source == "paper").render("md")


def paper_ratios(root: Path) -> str:
    """Returns a table of sizes relative to raw float32, published and measured: at the input and over the features."""
    published = published_tables()[0]
    ours = _default_table(root)
    lines = ["| codec | paper, input | ours, input | paper, features | ours, features |", "|---|--:|--:|--:|--:|"]
    pairs = ((theirs, name) for theirs, names in OUR_ROWS.items() for name in names)
    for theirs, name in pairs:
        if name in ours.rows and theirs != "Offload":  # the raw tensor, to which the shares relate
            cells = [
                *(_input_share(found, row) for found, row in ((published, theirs), (ours, name))),
                *(_feature_shares(found, row) for found, row in ((published, theirs), (ours, name))),
            ]
            lines.append(f"| `{name}` ({theirs}) | {' | '.join(cells)} |")
    foot = _foot(ours.reservations)
    meanings = [f"- {mark} {meaning}" for mark, meaning in CHOICE_MARKS.items() if any(mark in line for line in lines)]
    lines += [*(foot or [""]), *meanings] if meanings else foot
    return "\n".join(lines) + "\n"


def fitted_states(root: Path) -> str:
    """Returns a table of the states in STATES: codec, point, split, time of the fit, and size of the file."""
    lines = ["| codec and point | workload | split | fit | file |", "|---|---|---|--:|--:|"]
    rows = []
    for path in sorted((root / STATES).glob("*/*.zip")):
        state = states.unpacked(path.read_bytes())
        if state is None:
            raise DataError(f"{path} is no fitted state, or damaged; delete it, or fit it again")
        about = state.about
        label = f"`{about['codec']}` {point_label(about['point'])}"
        rows.append((about["codec"], about["workload"], about["split"], label, state.fit_s, path.stat().st_size))
    lines += [
        f"| {label} | {workload} | {split} | {fit_s / 60:.0f} min | {size / 1e6:.1f} MB |"
        for _, workload, split, label, fit_s, size in sorted(rows)
    ]
    return "\n".join(lines) + "\n"


def facts(root: Path) -> str:
    """Returns the numbers of cells and samples, the machine and the versions of the records."""
    records = _records(root)
    shown = _default_table(root)
    counts = Counter(record.status for record in records)
    where = records[0].provenance
    outcomes = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed") if counts[status])
    packages = ", ".join(f"{name} {where.packages[name]}" for name in ("torch", "numpy") if name in where.packages)
    return (
        f"{len(records)} cells ({outcomes}) on {shown.context['n']} test samples. "
        f"{where.cpu}, {where.cores} cores, {where.threads} used by each step; Python {where.python}, {packages}.\n"
    )


def rate_accuracy(root: Path) -> str:
    """Returns every operating point of the default workload, with a heading and a table for each split."""
    records = [record for record in _records(root) if record.key.workload == DEFAULT_WORKLOAD]
    (found,) = curves.build(records)
    parts = []
    for split, document in zip(found.points, curves_table.documents(found), strict=True):
        last = split == list(found.points)[-1]
        shown = replace(document, remarks=document.remarks if last else ())
        parts.append(f"## {split}\n\n{markdown(shown)}")
    return "\n".join(parts)


@lru_cache
def drawings(root: Path) -> list[Drawing]:
    """Returns every figure of the default workload as measured, then SPLIT_FIGURE for the machines of PREDICTED.

    The result is cached because several parts show it; `stale` clears the cache.
    """
    records = [record for record in _records(root) if record.key.workload == DEFAULT_WORKLOAD]
    return [
        *figure.draw_all(_study(root, records)),
        *(
            replace(drawing, name=f"{drawing.name}-{PREDICTED['device']}")
            for drawing in figure.draw_all(_study(root, records, **PREDICTED), [SPLIT_FIGURE])
        ),
    ]


def _study(root: Path, records: Sequence[Record], device: str = HOST, edge: str = HOST) -> study.Study:
    pm, store = manager(), Store(root / "results")
    scenarios = [scenario(pm, store, link, device, edge) for link in DEFAULT_LINKS]
    return study.build(records, scenarios, workloads(pm)[DEFAULT_WORKLOAD].budget)


def figures(root: Path) -> str:
    """Returns a heading, the picture and the caption of every figure."""
    return "\n".join(
        f"## {drawing.title}\n\n![{drawing.alt}](/{FIGURES}/{drawing.name}.svg)\n\n{drawing.caption}\n"
        for drawing in drawings(root)
    )


def recommendations(root: Path) -> str:
    """Returns what `codecbench plan` recommends for each of DEVICES over each default link, as a list."""
    pairs = ((link, device) for device in DEVICES for link in DEFAULT_LINKS)
    found = (headline for link, device in pairs for headline in _headlines(root, link, device))
    return "".join(f"- {each.sentence}\n" for each in found)


def _headlines(root: Path, link: str, device: str) -> list[Headline]:
    """Returns the headlines of the default workload for a link and a device, with the edge of PREDICTED."""
    pm, store = manager(), Store(root / "results")
    records = [record for record in _records(root) if record.key.workload == DEFAULT_WORKLOAD]
    chosen = scenario(pm, store, link, device, PREDICTED["edge"])
    return list(headlines_of(records, installed_budgets(pm), chosen))


def latency_figures(root: Path) -> str:
    """Returns the figures of latency by split over the default links, for the machines of PREDICTED."""
    shown = [d for d in drawings(root) if d.name.startswith(SPLIT_FIGURE) and d.name.endswith(PREDICTED["device"])]
    return "\n".join(f"![{d.alt}](/{FIGURES}/{d.name}.svg)\n" for d in shown)


def codec_list(root: Path) -> str:
    """Returns a heading, the docstring and the arguments of every codec in this project."""
    del root
    shipped = [c for c in codecs(manager()).values() if c.__module__.startswith("codecbench_plugins.")]
    return "\n".join(_codec(codec) for codec in sorted(shipped, key=lambda codec: codec.name))


def command_line(root: Path) -> str:
    """Returns a heading and a table of arguments for every command."""
    del root
    return "\n".join(_command(words, callback) for words, callback in _commands(app, "codecbench"))


def table_columns(root: Path) -> str:
    """Returns the names that --columns and --sort take, by kind of table."""
    del root
    lines = ["| kind | columns |", "|---|---|"]
    for kind, names in NAMES.items():
        kinds_of = "`budget`, `latency`" if kind == "budget" else f"`{kind}`"
        lines.append(f"| {kinds_of} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines) + "\n"


def table_fields(root: Path) -> str:
    """Returns the meaning of every column of tables and of every field of their CSV."""
    del root
    lines = ["| name | what it is |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in MEANINGS.items())]) + "\n"


def hooks(root: Path) -> str:
    """Returns a heading, the specification and an example for every hook."""
    del root
    return "\n".join(_hook(name, function) for name, function in hook_functions().items())


def toolbox(root: Path) -> str:
    """Returns a heading for every part of the toolbox, then its public names with signature and docstring."""
    folder = root / "codecbench" / "toolbox"
    parts = []
    for init in sorted(folder.glob("*/__init__.py")):
        part = import_module(f"codecbench.toolbox.{init.parent.name}")
        sources = _imports(init)
        names = [_public_name(name, getattr(part, name), root, sources[name]) for name in part.__all__]
        parts.append("\n".join([f"## `{part.__name__}`\n\n{inspect.getdoc(part)}\n", *names]))
    return "\n".join(parts)


def api(root: Path) -> str:
    """Returns a heading for every module of API, then its public names with signatures, docstrings and members."""
    parts = []
    shown: set[str] = set()
    for module in map(import_module, API):
        path = Path(str(module.__file__))
        sources = {name: source or module.__name__ for name, source in _imports(path).items()}
        own = [name for name in sorted(module.__all__, key=str.lower) if name not in shown]
        shown |= set(own)
        names = [_api_name(name, getattr(module, name), root, sources.get(name, module.__name__)) for name in own]
        summary = (inspect.getdoc(module) or "").split("\n\n")[0]
        parts.append("\n".join([f"## `{module.__name__}`\n\n{summary}\n", *names]))
    return "\n".join(parts)


def _api_name(name: str, item: Any, root: Path, module: str) -> str:
    if not inspect.isclass(item):
        return _public_name(name, item, root, module)
    usage = f"class {name}({', '.join(base.__name__ for base in item.__bases__)})"
    if isinstance(item.__init__, FunctionType) and not issubclass(item, BaseException):
        usage = f"{name}{_signature(item.__init__).replace('(self, ', '(').removesuffix(' -> None')}"
    lines = [f"### `{name}`", "", "```python", usage, "```", "", inspect.getdoc(item) or "", ""]
    members = list(_members(item))
    for usage, doc in members:
        first, *rest = doc.split("\n")
        lines += [f"- `{usage}`: {first}", *(f"  {line}".rstrip() for line in rest)]
    return "\n".join([*lines, ""] if members else lines)


def _members(item: type) -> Iterator[tuple[str, str]]:
    """Yields (usage, docstring) of a class's public attributes that have a docstring, methods and properties."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(item))).body
    assert isinstance(tree, ast.ClassDef)
    for node, below in zip_longest(tree.body, tree.body[1:]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            kinds = {ast.unparse(decorator) for decorator in node.decorator_list}
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            arguments = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args)).removeprefix("/, ")
            usage = node.name if "property" in kinds else f"{node.name}({arguments}){returns}"
            yield f"{'classmethod ' if 'classmethod' in kinds else ''}{usage}", ast.get_docstring(node) or ""
        elif isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            value = f" = {ast.unparse(node.value)}" if node.value else ""
            yield f"{ast.unparse(node.target)}{value}", inspect.cleandoc(str(below.value.value))


def _imports(path: Path) -> dict[str, str]:
    """Returns the module of each name that a file imports."""
    nodes = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module or "" for node in nodes for alias in node.names}


def _public_name(name: str, item: Any, root: Path, module: str) -> str:
    if not (inspect.isfunction(inspect.unwrap(item)) or inspect.isclass(item)):
        path = root / module.replace(".", "/")
        shown = f"{name} = {item}" if isinstance(item, int) else name
        return f"### `{shown}`\n\n{_constant_doc(path.with_suffix('.py'), name)}\n"
    lines = [f"### `{name}`", "", "```python", f"{name}{_signature(item)}", "```", "", inspect.getdoc(item) or "", ""]
    if isinstance(item, type):
        for method, function in vars(item).items():
            if not method.startswith("_") and (callable(function) or isinstance(function, classmethod | property)):
                summary = (inspect.getdoc(getattr(item, method)) or "").split("\n\n")[0].replace("\n", " ")
                lines += [f"- `{method}`: {summary}"]
        lines += [""] if lines[-1] else []
    return "\n".join(lines)


def _signature(item: Any) -> str:
    """Returns the signature without quotes around annotations, and without addresses and kinds of default values."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(item)))
    return re.sub(r"PosixPath\(([^)]*)\)", r"\1", re.sub(r"<function .*? at \w+>", "...", text))


def _constant_doc(path: Path, name: str) -> str:
    """Returns the docstring below a constant in its module. Raises DataError where there is none."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node, below in pairwise(body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
            names = (found for found in ast.walk(node) if isinstance(found, ast.Name))
            if any(found.id == name and isinstance(found.ctx, ast.Store) for found in names):
                return inspect.cleandoc(str(ast.literal_eval(below.value)))
    raise DataError(f"{path.name} says nothing below {name}; add a text")


GENERATORS: dict[str, Generator] = {
    "table": main_table,
    "headline": headline,
    "whole-test-table": whole_test_table,
    "ideas": ideas,
    "training-times": training_times,
    "seed-spread": seed_spread,
    "paper-table": published_table,
    "paper-ratios": paper_ratios,
    "facts": facts,
    "states": fitted_states,
    "recommendations": recommendations,
    "latency": latency_figures,
    "figures": figures,
    "curves": rate_accuracy,
    "codecs": codec_list,
    "cli": command_line,
    "table-columns": table_columns,
    "table-fields": table_fields,
    "hooks": hooks,
    "toolbox": toolbox,
    "api": api,
}


LATEX_TABLES: dict[str, Generator] = {
    "main": lambda root: _latex([kinds.of_budget(_default_table(root))]),
    "training-times": lambda root: _latex(map(kinds.of_trainings, _trainings(root))),
}
"""Generators of the files NAME.tex in TABLES; a file is written where a page links to it."""


def hook_functions() -> dict[str, Callable[..., Any]]:
    """Returns every hook specification by name, in the order of the source."""
    return {
        name: item
        for name, item in vars(hookspecs).items()
        if inspect.isfunction(item) and name.startswith("codecbench_")
    }


def pages(root: Path) -> list[Path]:
    """Returns the files that may hold generated parts."""
    extra = [path for path in (root / STATES / "README.md",) if path.exists()]
    return [root / "README.md", *extra, *sorted((root / "docs").rglob("*.md"))]


def refreshed(text: str, root: Path, label: str) -> str:
    """Returns the text with every generated part generated again; `label` is the page's path from the root.

    Raises UsageError for a part of unknown name or an unpaired marker.
    """
    markers = len(_MARKER.findall(text))
    blocks = len(_BLOCK.findall(text))
    if markers != 2 * blocks:
        raise UsageError(f"{label}: {blocks} generated parts but {markers} markers; each part needs a start and an end")

    def regenerated(match: re.Match[str]) -> str:
        body = _relative(pick(GENERATORS, match[1], "generated part")(root), label)
        return f"<!-- generated: {match[1]} -->\n{body}<!-- end -->"

    return _BLOCK.sub(regenerated, text)


def stale(root: Path) -> dict[Path, str]:
    """Returns the expected text of every file that differs from it: pages with generated parts, figures and tables."""
    drawings.cache_clear()
    found = {}
    linked: set[str] = set()
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(root).as_posix()
        expected = refreshed(text, root, name)
        if expected != text:
            found[page] = expected
        linked |= {
            posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in _LINK.findall(expected)
        }
    extra_files: dict[str, str] = {}
    if any(link.startswith(f"{FIGURES}/") for link in linked):
        extra_files = {f"{FIGURES}/{drawing.name}.svg": drawing.svg() for drawing in drawings(root)}
    extra_files |= {
        path: make(root) for name, make in LATEX_TABLES.items() if (path := f"{TABLES}/{name}.tex") in linked
    }
    for name, expected in extra_files.items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != expected:
            found[path] = expected
    return found


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Rewrites stale files and returns 0; with --check, prints their names and returns 1 if there are any.

    Returns 2 after an error.
    """
    parser = argparse.ArgumentParser(description="Rewrite the generated parts of the README and docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is stale")
    check = parser.parse_args(arguments).check
    try:
        found = stale(root)
    except CodecbenchError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for page, text in found.items():
        if not check:
            page.parent.mkdir(parents=True, exist_ok=True)
            write_file(page, text)
        sys.stdout.write(
            f"{page.relative_to(root)} {'is stale; run python docs/generate.py' if check else 'rewritten'}\n"
        )
    return 1 if check and found else 0


def _relative(text: str, page: str) -> str:
    """Returns the text with links from the project's root, as in `/docs/x.svg`, made relative to a page."""
    return _LINK.sub(
        lambda link: (
            f"]({posixpath.relpath(link[1], f'/{posixpath.dirname(page)}') if link[1][0] == '/' else link[1]})"
        ),
        text,
    )


def _records(root: Path) -> list[Record]:
    records = Store(root / "results").records()
    if not records:
        raise DataError("results/ holds no records; run `codecbench run --out results` first")
    return records


def _tables(root: Path, records: Sequence[Record], paper: bool = False) -> list[Table]:
    pm = manager()
    chosen = scenario(pm, Store(root / "results"), DEFAULT_LINK)
    return budget.build(records, budgets=installed_budgets(pm), scenario=chosen, paper=paper)


def _default_table(root: Path) -> Table:
    return _default_of(_tables(root, _records(root)))


def _default_of(tables: Sequence[Table]) -> Table:
    return pick({built.workload: built for built in tables}, DEFAULT_WORKLOAD, "workload in results/")


def _foot(reserved: Reservations) -> list[str]:
    """Returns the lines below a table without marks: an empty one and the reservations, or none."""
    return ["", *(f"- {sentence}" for sentence in reserved.sentences)] if reserved.sentences else []


def _input_share(found: Table | PublishedTable, row: str) -> str:
    entry = found.entries[row, "input"]
    marks = choice_marks(entry)
    return f"{_percent(entry)} %{f' {marks}' if marks else ''}" if entry.status == "ok" else entry.status


def _feature_shares(found: Table | PublishedTable, row: str) -> str:
    entries = [found.entries[row, split] for split in found.splits if split != "input"]
    measured = sorted((e for e in entries if e.status == "ok"), key=lambda e: e.payload_percent or 0.0)
    if not measured:
        return "-"
    marks = "".join(dict.fromkeys("".join(map(choice_marks, measured))))
    return f"{_percent(measured[0])}-{_percent(measured[-1])} %{f' {marks}' if marks else ''}"


def _percent(entry: Entry) -> str:
    return f"{entry.payload_percent:.2g}"


def _commands(app: typer.Typer, words: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields the words and the function of every command that is not hidden; groups come after plain commands."""
    for info in app.registered_commands:
        if info.callback and not info.hidden:
            yield f"{words} {info.name or info.callback.__name__}", info.callback
    for group in app.registered_groups:
        if group.typer_instance:
            yield from _commands(group.typer_instance, f"{words} {group.name}")


def _command(words: str, callback: Callable[..., Any]) -> str:
    parameters = list(_parameters(callback))
    arguments = "".join(f" {usage}" for usage, _, is_option in parameters if not is_option)
    options = " [OPTIONS]" if any(is_option for _, _, is_option in parameters) else ""
    lines = [f"## `{words}`", "", inspect.getdoc(callback) or "", ""]
    lines += ["```text", f"{words}{arguments}{options}", "```", ""]
    if parameters:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{_piped(usage)}` | {_piped(text)} |" for usage, text, _ in parameters]
    return "\n".join(lines).rstrip() + "\n"


def _parameters(callback: Callable[..., Any]) -> Iterator[tuple[str, str, bool]]:
    """Yields (usage, help, True for an option) of every parameter that is not hidden."""
    signature = inspect.signature(callback).parameters
    for name, hint in get_type_hints(callback, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ArgumentInfo):
                yield info.metavar or name.upper(), info.help or "", False
            elif isinstance(info, OptionInfo) and not info.hidden:
                # Inside Annotated, typer stores the first declared name as the default.
                declared = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
                names = ", ".join(declared or [f"--{name.replace('_', '-')}"])
                usage = f"{names} {info.metavar or _choices(hint)}".rstrip()
                yield usage, f"{info.help or ''}{_default(signature[name].default)}", True


def _default(value: Any) -> str:
    """Returns the text of a default value, empty for None, False and no default."""
    return "" if value in (None, False, inspect.Parameter.empty) else f" [default: {value}]"


def _choices(hint: Any) -> str:
    """Returns the values of an enumeration, separated by `|`, empty for other types."""
    kind = get_args(hint)[0]
    return "|".join(member.value for member in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ""


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _codec(codec: type[Codec]) -> str:
    arguments = {key: list(dict.fromkeys(p[key] for p in codec.points if key in p)) for key in codec.points[0]}
    lines = [f"## `{codec.name}`", "", inspect.getdoc(codec) or "", ""]
    lines += [f"- `{key}`: {', '.join(map(str, values))}" for key, values in arguments.items()]
    source = codec.__module__.removeprefix("codecbench_plugins.").replace(".", "/")
    source += "/__init__.py" if hasattr(sys.modules[codec.__module__], "__path__") else ".py"
    lines += [f"- version {codec.version}, [{source}](/plugins/codecbench_plugins/{source})"]
    return "\n".join(lines) + "\n"


def _hook(name: str, function: Callable[..., Any]) -> str:
    prose, at, example = (inspect.getdoc(function) or "").partition("@hookimpl")
    returns = str(inspect.signature(function).return_annotation)
    lines = [f"## `{name}`", "", prose.strip(), "", f"Returns `{returns}`.", ""]
    if at:
        lines += ["```python", f"{at}{example}".rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
