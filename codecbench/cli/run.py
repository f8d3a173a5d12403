"""`codecbench run`, `fit` and `data get`: measure cells, fit codecs and fetch datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codecbench.api.choices import DEFAULT_LINK, DEFAULT_OUT, scenario
from codecbench.api.tables import TableFormat, table_of
from codecbench.cli.options import (
    CacheDir,
    DataDir,
    Plugins,
    check_data_dir,
    check_writable,
    debugging,
    describing,
    echo,
    show,
    terminal_columns,
)
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD, RunConfig, load
from codecbench.names import counted, pick
from codecbench.registry import manager, workloads

if TYPE_CHECKING:
    from codecbench.experiment.cells import FitSummary, Summary
    from codecbench.harness.run import Run

Config = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG.toml]", help="Options from a TOML file; options on the command line win.", show_default=False
    ),
]
RunPreset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="quick|full",
        help="quick: 500 samples and the points that matter; full: everything [default: quick].",
    ),
]
PointChoice = Annotated[
    str | None,
    typer.Option(
        "--points",
        metavar="preset|auto",
        help="auto: search each codec's smallest payload within the budget [default: preset].",
    ),
]

# Options of both `run` and `fit`; where one is None, the configuration decides.
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
AllSplits = Annotated[bool, typer.Option("--all-splits", help="Every point where a single tensor crosses.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of every fit [default: 0].")]
MaxFitS = Annotated[
    float | None, typer.Option("--max-fit-s", metavar="N", help="Time after which a fit stops [default: 900].")
]
MaybeOut = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help=f"The results folder [default: {DEFAULT_OUT}].")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the cells and an estimate of the time, and stop.")]
LongFits = Annotated[
    bool, typer.Option("--fit", help="Fit codecs that need a long fit and have no state [default: they are skipped].")
]
ScratchGb = Annotated[
    float | None,
    typer.Option(
        "--scratch-gb", metavar="GB", help="Disk for activations meanwhile, in the temporary folder [default: 2]."
    ),
]

Samples = Annotated[str | None, typer.Option(metavar="N|all", help="Test samples [default: the preset's].")]
TimeoutS = Annotated[
    float | None,
    typer.Option("--timeout-s", metavar="N", help="Time limit of one cell on one chunk of samples [default: 300]."),
]
TorchDevice = Annotated[
    str | None,
    typer.Option("--torch-device", metavar="cpu|cuda", help="Where heads, tails and fits run [default: cpu]."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure cells again even if they have a record.")]

Measure = Annotated[
    str | None,
    typer.Option(
        "--measure",
        metavar="all|accuracy|timing",
        help="accuracy: score only; timing: time here what was scored, and write the records [default: all].",
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="local|processes|dask|slurm",
        help="Where cells are scored: see the guide on more machines [default: local].",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        help="Crews, which score at once: sets of processes, or jobs [default: one for each core].",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="tcp://HOST:PORT", help="The scheduler of --executor dask [default: one of its own]."
    ),
]
SharedDir = Annotated[
    Path | None,
    typer.Option("--shared-dir", metavar="DIR", help="A folder that all machines see, for --executor slurm."),
]

Slurm = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm", metavar="KEY=VALUE", help="A parameter of sbatch, or minutes=N, the limit of a job; repeatable."
    ),
]


@describing
def run(
    described: dict[str, Any],
    config: Config = None,
    workload: MaybeWorkload = None,
    codec: Codecs = None,
    split: Splits = None,
    all_splits: AllSplits = False,
    preset: RunPreset = None,
    points: PointChoice = None,
    samples: Samples = None,
    seed: Seed = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    out: MaybeOut = None,
    timeout_s: TimeoutS = None,
    max_fit_s: MaxFitS = None,
    scratch_gb: ScratchGb = None,
    torch_device: TorchDevice = None,
    fresh: Fresh = False,
    fit: LongFits = False,
    measure: Measure = None,
    executor: ExecutorName = None,
    jobs: Jobs = None,
    dask: Dask = None,
    shared_dir: SharedDir = None,
    slurm: Slurm = None,
    dry_run: DryRun = False,
) -> None:
    """Measure every codec at every split point, then print the table. A killed run resumes where it stopped."""
    options = {
        "workload": workload, "codec": codec, "split": split, "all_splits": all_splits, "preset": preset,
        "points": points, "samples": _sample_count(samples), "seed": seed, "plugin": plugin, "data_dir": data_dir,
        "cache_dir": cache_dir, "out": out, "timeout_s": timeout_s, "max_fit_s": max_fit_s, "scratch_gb": scratch_gb,
        "torch_device": torch_device, "fresh": fresh, "fit": fit, "measure": measure, "executor": executor,
        "jobs": jobs, "dask": dask, "shared_dir": shared_dir, "slurm": slurm, **described,
    }  # fmt: skip
    _execute(_settings(config, options), dry_run=dry_run)


def status(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")] = DEFAULT_OUT,
) -> None:
    """Say how far the run that writes to a results folder is: finished and failed cells, rate, time left."""
    from codecbench.experiment.run_status import status_of

    show(status_of(out))


@describing
def fit(
    described: dict[str, Any],
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
    cache_dir: CacheDir = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write states to DIR/<codec>, to ship them [default: the user's cache]."),
    ] = None,
    max_fit_s: MaxFitS = None,
    torch_device: Annotated[
        str | None, typer.Option("--torch-device", metavar="cpu|cuda", help="Where fits run [default: cpu].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fit again even if there is a state.")] = False,
    further: Annotated[
        bool, typer.Option("--further", help="Start from existing states where the codec can; fit times add up.")
    ] = False,
) -> None:
    """Fit codecs on training data and keep their states. `run` makes missing ones by itself, but for long fits."""
    from codecbench.experiment.progress import reporter
    from codecbench.harness.run import Run

    options = {
        "workload": workload, "codec": codec, "split": split, "all_splits": all_splits, "preset": preset, "seed": seed,
        "plugin": plugin, "data_dir": data_dir, "cache_dir": cache_dir, "max_fit_s": max_fit_s,
        "torch_device": torch_device, "fresh": fresh, **described,
    }  # fmt: skip
    settings = _settings(None, options)
    if into is not None:
        check_writable("--into", into)
    with reporter() as report, Run(settings, report) as job:
        summary = job.fit(into, further=further)
    echo(f"{summary.fitted} fitted, {len(summary.failures)} failed, {summary.present} already there")
    _print_failures(summary)
    if summary.failures:
        raise typer.Exit(1)


def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name, or `states`: fitted states.")],
    sources: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="PLACE", help="What is here already: a folder, an archive, a file; repeatable."),
    ] = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    plugin: Plugins = None,
) -> None:
    """Fetch a dataset, or take it from where it is, check it, and put it where runs look for it."""
    from codecbench.checked_workload import workload_call
    from codecbench.fitting import shared_states
    from codecbench.workload import data_folders

    known = {w.dataset: w for w in workloads(manager(plugin or ())).values() if w.dataset}
    if name == shared_states.NAME and name not in known:
        shared_states.take(sources or (), cache_dir, echo)
        return
    pick(dict.fromkeys([*known, shared_states.NAME]), name, "dataset")
    workload = known[name]
    place = data_folders(data_dir)[0]
    if sources:
        with workload_call(workload, "fetch_from"):
            workload.fetch_from(sources, place, echo)
        return
    with workload_call(workload, "fetch"):
        workload.fetch(place, echo)


def _execute(settings: RunConfig, *, dry_run: bool) -> None:
    """Run a configuration and print the table, or print what would run."""
    from codecbench.executors.choice import check_executor
    from codecbench.experiment.progress import reporter
    from codecbench.experiment.run_status import StatusFile
    from codecbench.harness.run import Run
    from codecbench.results.store import Store

    check_executor(settings)
    with reporter() as report:
        if dry_run:
            with Run(settings, report) as job:
                show(_plan_text(job))
            return
        with Store(settings.out).locked(), Run(settings, StatusFile(report, settings.out)) as job:
            summary = job.execute()
            shown, left_out = job.current(Store(settings.out).records())
            sample_set = job.sample_sets["test"]
    _print_counts(summary, left_out)
    if summary.scored and not shown:
        return
    pm = manager()  # without plugin files: records say all that the table needs
    store = Store(settings.out)
    found = table_of(store, shown, pm, scenario(pm, store, DEFAULT_LINK), sample_set=sample_set)
    show(found.render(TableFormat.TEXT, terminal_columns()))
    if summary.failures:
        raise typer.Exit(1)


def _settings(config: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of these options. Raises UsageError where two of them exclude each other."""
    if options["split"] and options["all_splits"]:
        raise UsageError("--split and --all-splits exclude each other; give one of them")
    settings = load(config, options)
    check_data_dir(settings.data_dir)
    return settings


def _print_counts(summary: Summary, left_out: Iterable[str]) -> None:
    echo(f"{summary.ok} measured, {summary.skipped} skipped, {summary.failed} failed, {summary.present} already there")
    if summary.scored:
        echo(f"{summary.scored} scored: --measure timing times them, on the machine whose times are wanted")
    if summary.unscored:
        echo(f"{summary.unscored} not timed: they are not scored yet, which --measure accuracy does")
    if not (summary.ok or summary.skipped or summary.failed or summary.scored or summary.unscored):
        echo("nothing to do: every cell has a current record (--fresh measures again)")
    _print_failures(summary)
    for remark in left_out:
        echo(remark)


def _print_failures(summary: Summary | FitSummary) -> None:
    """Print a line for each failure, and with --debug the lines of the plugin's own code beneath it."""
    for failure in summary.failures:
        echo(f"failed: {failure}")
        for line in summary.frames.get(failure, ()) if debugging.get() else ():
            echo(f"  {line}")


def _sample_count(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _plan_text(job: Run) -> str:
    from codecbench.executors.slurm_jobs import parsed_parameters, script

    cells = job.plan()
    present = [cell for cell in cells if job.earlier.has_current(cell)]
    lines = [
        f"{c.label}{'  (there already)' if c in present else f'  (skipped: {c.skip_reason})' if c.skip_reason else ''}"
        for c in cells
    ]
    if job.config.points == "auto":
        lines.append(f"Points are searched, from these on, on {job.grid.counts['choice']} samples.")
    if job.config.executor == "slurm":
        lines.append(script(parsed_parameters(job.config.slurm), job.config.jobs or 1))
    found = job.estimate([cell for cell in cells if cell not in present])
    return "\n".join([*lines, f"{counted(len(cells), 'cell')} on {job.sample_sets['test']}, {found.text}"])
