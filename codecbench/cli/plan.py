"""The command line.

Every error is one line. The exit status is 0 when all went well, 1 when a cell or a check failed, 2 for a usage error.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from codecbench import __version__
from codecbench.cli import devices as cli_device
from codecbench.cli import figures as cli_figure
from codecbench.cli import links as cli_link
from codecbench.cli import report as cli_report
from codecbench.cli.options import (
    DEFAULT_LINK,
    DEFAULT_OUT,
    Budget,
    DataDir,
    DeviceName,
    EdgeName,
    LinkName,
    OnlyWorkload,
    Out,
    Plugins,
    SampleSet,
    WorkloadName,
    say,
    scenario,
    show,
)
from codecbench.devices.profile import HOST
from codecbench.errors import CodecbenchError, DataError, UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD, load
from codecbench.names import pick, suggestion
from codecbench.registry import codecs, devices, links, manager, workloads

if TYPE_CHECKING:
    import pluggy

    from codecbench.results.record import Record
    from codecbench.tables.training import ModelTraining

app = typer.Typer(
    name="codecbench", add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which codec should carry the tensor when a network is split between a device and an edge server?",
)  # fmt: skip
data_app = typer.Typer(help="Datasets beyond what ships with the package.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
app.add_typer(cli_link.app, name="link")
app.add_typer(cli_device.app, name="device")

INTERRUPTED = 130
"""The exit status of a command that was stopped by Ctrl-C."""

# What `run` and `fit` have in common; None leaves an option to the configuration.
MaybeWorkload = Annotated[
    str | None, typer.Option("--workload", metavar="W", help=f"A workload's name [default: {DEFAULT_WORKLOAD}].")
]
Codecs = Annotated[
    list[str] | None,
    typer.Option(
        "--codec", metavar="NAME[:key=value,...]", help="A codec, at one point if given; repeatable [default: all]."
    ),
]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", metavar="S", help="A split point; repeatable [default: the workload's]."),
]
AllSplits = Annotated[bool, typer.Option("--all-splits", help="Every place where one tensor crosses.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of every fit [default: 0].")]
MaxFitS = Annotated[
    float | None, typer.Option("--max-fit-s", metavar="N", help="Time after which a fit stops [default: 900].")
]


class Kind(StrEnum):
    """What `codecbench list` lists."""

    CODECS = "codecs"
    WORKLOADS = "workloads"
    LINKS = "links"
    DEVICES = "devices"
    SPLITS = "splits"


class TableFormat(StrEnum):
    """Formats of `codecbench table`."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    HTML = "html"


class ComparisonFormat(StrEnum):
    """Formats of `codecbench compare`."""

    TEXT = "text"
    MD = "md"


def _version(value: bool) -> None:
    if value:
        show(f"codecbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
) -> None:
    del version
    # main() takes it from the arguments wherever it stands; it is declared here for the help text.
    del debug


@app.command()
def run(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml]", help="Options from a TOML file; those given here win.", show_default=False
        ),
    ] = None,
    workload: MaybeWorkload = None,
    codec: Codecs = None,
    split: Splits = None,
    all_splits: AllSplits = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="quick|full",
            help="quick: 500 samples and the points that matter; full: everything [default: quick].",
        ),
    ] = None,
    samples: Annotated[str | None, typer.Option(metavar="N|all", help="Test samples [default: the preset's].")] = None,
    seed: Seed = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"The results folder [default: {DEFAULT_OUT}].")
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout-s", metavar="N", help="Time limit of one cell's accuracy pass [default: 300]."),
    ] = None,
    max_fit_s: MaxFitS = None,
    torch_device: Annotated[
        str | None,
        typer.Option("--torch-device", metavar="cpu|cuda", help="Where heads, tails and fits run [default: cpu]."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure cells again that have a record.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and an estimate of the time, and stop.")
    ] = False,
) -> None:
    """Measure every codec at every split point, then print the table. A killed run resumes where it was."""
    from codecbench.harness.progress import reporter
    from codecbench.harness.run import Run

    options = {
        "workload": workload, "codec": codec, "split": split, "all_splits": all_splits, "preset": preset,
        "samples": _sample_count(samples), "seed": seed, "plugin": plugin, "data_dir": data_dir, "out": out,
        "timeout_s": timeout_s, "max_fit_s": max_fit_s, "torch_device": torch_device, "fresh": fresh,
    }  # fmt: skip
    settings = load(config, options)
    with reporter() as report:
        job = Run(settings, report)
        if dry_run:
            with job.pair:
                show(_plan_text(job))
            return
        summary = job.execute()
    say(f"{summary.ok} measured, {summary.skipped} skipped, {summary.failed} failed, {summary.present} already there")
    if not (summary.ok or summary.skipped or summary.failed):
        say("nothing to do: every cell has a current record (--fresh measures again)")
    for failure in summary.failures:
        say(f"failed: {failure}")
    table(
        out=settings.out, plugin=list(settings.plugin), sample_set=job.sample_sets["test"], workload=settings.workload
    )
    if summary.failures:
        raise typer.Exit(1)


@app.command()
def fit(
    workload: MaybeWorkload = None,
    codec: Codecs = None,
    split: Splits = None,
    all_splits: AllSplits = False,
    preset: Annotated[
        str, typer.Option(metavar="quick|full", help="quick: the points that matter; full: all of them.")
    ] = "full",
    seed: Seed = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write states to DIR/<codec>, to ship them [default: the user's cache]."),
    ] = None,
    max_fit_s: MaxFitS = None,
    torch_device: Annotated[
        str | None, typer.Option("--torch-device", metavar="cpu|cuda", help="Where fits run [default: cpu].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fit again what has a state.")] = False,
    further: Annotated[
        bool, typer.Option("--further", help="Start from the states that are there, where a codec can; seconds add up.")
    ] = False,
) -> None:
    """Fit codecs on training data, once, and keep their states; `run` fits what is missing by itself."""
    from codecbench.harness.progress import reporter
    from codecbench.harness.run import Run

    options = {
        "workload": workload, "codec": codec, "split": split, "all_splits": all_splits, "preset": preset, "seed": seed,
        "plugin": plugin, "data_dir": data_dir, "max_fit_s": max_fit_s, "torch_device": torch_device, "fresh": fresh,
    }  # fmt: skip
    with reporter() as report:
        summary = Run(load(None, options), report).fit(into, further=further)
    say(f"{summary.fitted} fitted, {len(summary.failures)} failed, {summary.present} already there")
    for failure in summary.failures:
        say(f"failed: {failure}")
    if summary.failures:
        raise typer.Exit(1)


def _sample_count(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _plan_text(job: Any) -> str:
    cells = job.plan()
    lines = [f"{c.label}{f'  (skipped: {c.skip_reason})' if c.skip_reason else ''}" for c in cells]
    minutes = job.estimate_s(cells) / 60
    return "\n".join([*lines, f"{len(cells)} cells on {job.sample_sets['test']}, about {minutes:.1f} minutes"])


@app.command()
def table(
    out: Out = DEFAULT_OUT,
    budget: Budget = None,
    link: LinkName = DEFAULT_LINK,
    device: DeviceName = HOST,
    edge: EdgeName = HOST,
    format_: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = TableFormat.TEXT,
    latency: Annotated[
        bool, typer.Option("--latency", help="End-to-end latency of the same points: device, network, edge.")
    ] = False,
    paper: Annotated[bool, typer.Option("--paper", help="Add the paper's published rows.")] = False,
    points: Annotated[
        bool, typer.Option("--points", help="Every operating point, beside its Shannon bound; no budget, no link.")
    ] = False,
    bd_rate: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="BD-rate of every row against this one, at each split; no budget, no link."),
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="How long fits take, as a share of the model's training; no budget.")
    ] = False,
    workload: OnlyWorkload = None,
    codec: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this codec; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(metavar="S", help="Only this split point; repeatable.")] = None,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
) -> None:
    """Print the comparison table of a results folder."""
    from codecbench.analysis import curves
    from codecbench.results.store import Store
    from codecbench.tables import budget as tables
    from codecbench.tables import latency as latency_table
    from codecbench.tables import training as training_table

    if sum((latency, points, training, bd_rate is not None)) > 1:
        raise UsageError("--latency, --points, --training and --bd-rate are tables of their own; ask for one")
    pm = manager(plugin or ())
    store = Store(out)
    asked = scenario(pm, store, link, device, edge)
    records = store.records()
    for field, wanted in (("workload", [workload] if workload else None), ("codec", codec), ("split", split)):
        records = _only(records, field, wanted)
    width = shutil.get_terminal_size((120, 24)).columns
    if points:
        show(curves.render(curves.build(records, sample_set=sample_set), str(format_), width))
        return
    if training:
        fits = training_table.build(records, _model_trainings(pm), sample_set=sample_set)
        show(training_table.render(fits, str(format_), width))
        return
    if bd_rate is not None:
        from codecbench.analysis import bd_rate as bd_rates

        show(bd_rates.render(bd_rates.build(records, bd_rate, sample_set=sample_set), str(format_), width))
        return
    built = tables.build(
        records, budgets=_budgets(pm) if budget is None else budget, paper=paper, sample_set=sample_set, scenario=asked
    )  # fmt: skip
    show((latency_table if latency else tables).render(built, str(format_), width))


@app.command()
def plan(
    out: Out = DEFAULT_OUT,
    link: LinkName = DEFAULT_LINK,
    device: DeviceName = HOST,
    edge: EdgeName = HOST,
    budget: Budget = None,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", metavar="MS", help="Greatest median latency, in milliseconds.")
    ] = None,
    max_device_ms: Annotated[
        float | None, typer.Option("--max-device-ms", metavar="MS", help="Greatest time of head and encoder together.")
    ] = None,
    workload: WorkloadName = DEFAULT_WORKLOAD,
    as_json: Annotated[bool, typer.Option("--json", help="Plain values, for a program.")] = False,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
) -> None:
    """Choose the split, codec and point of the least latency within a budget, from the records of a run."""
    from codecbench.analysis import planner
    from codecbench.analysis.selection import one_set
    from codecbench.results.store import Store
    from codecbench.tables import plan as plan_text

    pm = manager(plugin or ())
    store = Store(out)
    records = _only(store.records(), "workload", [workload])
    if budget is None:
        budget = pick(workloads(pm), workload, "workload").budget
    limits = planner.Limits.of(budget, max_latency, max_device_ms)
    asked = scenario(pm, store, link, device, edge)
    shown, _ = one_set(records, workload, sample_set)
    candidates = planner.candidates(shown, asked)
    found = planner.plan(candidates, limits)
    try:
        turns = planner.sweep(candidates, limits, asked.link)
    except UsageError as error:  # somebody's link has no bandwidth that could be another
        say(f"the choice at other bandwidths is left out: {error}")
        turns = []
    if as_json:
        show(json.dumps(plan_text.as_json(found, turns, limits, asked), indent=1))
        return
    columns = shutil.get_terminal_size((120, 24)).columns
    show(plan_text.as_text(found, turns, limits, asked, _metric(shown), columns))


@app.command()
def rehearse(
    rate: Annotated[str, typer.Option("--rate", metavar="RATE", help="Rate of the path, like 20Mbit.")] = "20Mbit",
    delay_ms: Annotated[
        float, typer.Option("--delay-ms", metavar="MS", help="Delay of the path, in each direction.")
    ] = 1.0,
    out: Out = DEFAULT_OUT,
    budget: Budget = None,
    requests: Annotated[int, typer.Option("--requests", metavar="N", min=1, help="How many requests to make.")] = 100,
    workload: WorkloadName = DEFAULT_WORKLOAD,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """Run the planned codec for real, over a path shaped on this machine, and hold the plan's latency against it."""
    from codecbench.analysis.planner import Limits
    from codecbench.analysis.selection import one_set
    from codecbench.harness import plan_validation
    from codecbench.harness.progress import reporter
    from codecbench.links.relay import parse_rate
    from codecbench.results.store import Store
    from codecbench.tables import plan as plan_text

    if not delay_ms >= 0:
        raise UsageError(f"--delay-ms is a number of milliseconds from 0 on, not {delay_ms:g}")
    path = plan_validation.PathShape(parse_rate(rate), delay_ms / 1000)
    records, _ = one_set(_only(Store(out).records(), "workload", [workload]), workload, sample_set)
    if budget is None:
        budget = pick(workloads(manager(plugin or ())), workload, "workload").budget
    options = {"workload": workload, "plugin": plugin, "data_dir": data_dir, "preset": "full"}
    with reporter() as report:
        found = plan_validation.validate_plan(
            load(None, options), records, Limits.of(budget, None, None), path, requests, report
        )  # fmt: skip
    show(plan_text.rehearsal(found, _metric(records)))


app.command()(cli_figure.figure)
app.command()(cli_report.report)


def _metric(records: Iterable[Record]) -> str:
    """`top-1 %`. Raises DataError where nothing was measured."""
    task = next((record.task for record in records if record.task), None)
    if task is None:
        raise DataError("no cell of this workload was measured; 'codecbench table' shows why")
    return f"{task.metric} {task.unit}".strip()


def _budgets(pm: pluggy.PluginManager) -> dict[str, float]:
    return {name: kind.budget for name, kind in workloads(pm).items()}


def _model_trainings(pm: pluggy.PluginManager) -> dict[str, ModelTraining]:
    from codecbench.tables.training import ModelTraining

    return {name: ModelTraining(kind().training_s, kind.training_note) for name, kind in workloads(pm).items()}


def _only(records: list[Record], field: str, wanted: list[str] | None) -> list[Record]:
    """The records whose key has one of these values, or all. Raises UsageError for a value that none has."""
    there = {str(getattr(record.key, field)): None for record in records}
    for name in wanted or ():
        pick(there, name, f"{field} in these records:")
    return [record for record in records if not wanted or getattr(record.key, field) in wanted]


@app.command()
def compare(
    out_a: Annotated[Path, typer.Argument(metavar="OUT_A", help="A results folder.")],
    out_b: Annotated[Path, typer.Argument(metavar="OUT_B", help="Another.")],
    format_: Annotated[ComparisonFormat, typer.Option("--format", help="How to print it.")] = ComparisonFormat.TEXT,
) -> None:
    """Set two results folders side by side, cell by cell, with paired tests."""
    from codecbench.results.store import Store
    from codecbench.tables import comparison

    show(comparison.compare(Store(out_a), Store(out_b)).render(str(format_)))


@app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv|FILE.parquet", help="Where to write; the ending tells the format.")
    ],
    out: Out = DEFAULT_OUT,
) -> None:
    """Write all records as one flat table, a row a cell."""
    from codecbench.results import export as exporting
    from codecbench.results.store import Store

    rows = exporting.export(Store(out).records(), file)
    say(f"{rows} records written to {file}")


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="An array of objects.")] = False,
    workload: WorkloadName = DEFAULT_WORKLOAD,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """List what is installed."""
    from codecbench.cli import catalogue

    pm = manager(plugin or ())
    if kind is Kind.SPLITS:
        rows = catalogue.split_rows(pick(workloads(pm), workload, "workload"), data_dir)
    else:
        rows = {
            Kind.CODECS: lambda: catalogue.codec_rows(codecs(pm)),
            Kind.WORKLOADS: lambda: catalogue.workload_rows(workloads(pm)),
            Kind.LINKS: lambda: catalogue.link_rows(links(pm)),
            Kind.DEVICES: lambda: catalogue.device_rows(devices(pm)),
        }[kind]()
    show(json.dumps(rows, indent=1) if as_json else catalogue.text(rows))


@app.command()
def check(
    codec: Annotated[
        str, typer.Argument(metavar="CODEC|FILE", help="A codec's name, or a plugin file: all its codecs.")
    ],
    update_golden: Annotated[
        bool, typer.Option("--update-golden", help="Write golden bitstreams that are missing or of an older version.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Hold a codec to the contract: run the conformance kit."""
    from codecbench import testing

    files = [Path(codec), *(plugin or [])] if codec.endswith(".py") else plugin or []
    known = codecs(manager(files))
    if codec.endswith(".py"):
        chosen = [
            c
            for c in known.values()
            if Path(sys.modules[c.__module__].__file__ or "").resolve() == Path(codec).resolve()
        ]
    else:
        chosen = [pick(known, codec, "codec")]
    outcomes = testing.run_checks(chosen, update_golden=update_golden, on_outcome=lambda o: show(o.line()))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    say(f"{len(outcomes)} checks, {failed} failed")
    if failed:
        raise typer.Exit(1)


@app.command("new-codec")
def new_codec(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The codec's name: lower case, hyphens.")],
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a working plugin and its test, to start from."""
    from codecbench.cli.scaffold import new_codec as write

    for path in write(name, folder):
        say(f"wrote {path}")


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name.")],
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Fetch a dataset, check its sums, and put it where runs look for it."""
    from codecbench.workload import data_places

    known = {w.dataset: w for w in workloads(manager(plugin or ())).values() if w.dataset}
    workload = pick(known, name, "dataset")
    workload.fetch(data_places(data_dir)[0], say)


@contextmanager
def _one_line_errors(debug: bool) -> Iterator[None]:
    try:
        yield
    except CodecbenchError as error:
        if debug:
            raise
        say(f"codecbench: {error}")
        raise SystemExit(2) from error
    except (KeyboardInterrupt, typer.Abort) as error:
        say("codecbench: stopped; finished cells are kept, and the same command goes on from there")
        raise SystemExit(INTERRUPTED) from error
    except Exception as error:
        if hasattr(error, "format_message"):
            _end_with_usage(error)
        if debug:
            raise
        reason = " ".join(str(error).split())
        say(f"codecbench: internal error, {type(error).__name__}: {reason}; --debug shows where, please report it")
        raise SystemExit(70) from error


def _end_with_usage(error: Any) -> NoReturn:
    """End as click would for its own errors, in one line. Typer may bring its own click, so no class is named here."""
    text = " ".join(str(error.format_message()).split()).replace("Value error, ", "")
    if type(error).__name__ == "NoArgsIsHelpError":
        show(error.format_message())
        raise SystemExit(0)
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else "; see --help"
        text = f"no option {error.option_name}{near}"
    elif text.startswith("No such command"):
        wrong = text.split("'")[1]
        known = list(getattr(error.ctx.command, "commands", {}))
        text = f"no command {wrong!r}{suggestion(wrong, known) or f'; see {error.ctx.command_path} --help'}"
    say(f"codecbench: {text[0].lower()}{text[1:].rstrip('.')}")
    raise SystemExit(2)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: run a command, and end with one line and a status where it cannot."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    with _one_line_errors(debug):
        status = app(args=[word for word in words if word != "--debug"], prog_name="codecbench", standalone_mode=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt  # which Typer, by its version, turns into this status or into an Abort
        if isinstance(status, int) and status:
            raise SystemExit(status)


if __name__ == "__main__":
    main()
