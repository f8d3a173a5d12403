"""`codecbench list`, `check`, `new-codec` and `new-workload`: installed plugins, and tools for authors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codecbench.cli.options import (
    DataDir,
    Plugins,
    check_data_dir,
    chosen_workload,
    columns_of_a_terminal,
    debugging,
    describing,
    echo,
    show,
)
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD, load
from codecbench.locations import frames_of
from codecbench.names import counted, pick
from codecbench.registry import codec_plugins, codecs, devices, links, manager, named_file, workloads

if TYPE_CHECKING:
    from codecbench.codec import Codec
    from codecbench.kit.runner import Outcome
    from codecbench.workload import Workload


class ListKind(StrEnum):
    """The kinds that `codecbench list` accepts."""

    CODECS = "codecs"
    WORKLOADS = "workloads"
    LINKS = "links"
    DEVICES = "devices"
    SPLITS = "splits"


@describing
def list_(
    described: dict[str, Any],
    kind: Annotated[ListKind, typer.Argument(help="The kind to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")] = False,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", metavar="W", help=f"The workload whose split points are listed [default: {DEFAULT_WORKLOAD}]."
        ),
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """List installed codecs, workloads, links, devices or a model's split points."""
    from codecbench.cli import catalogue
    from codecbench.descriptions.catalogue import LocalCatalogue

    used = {"--workload": workload, "--data-dir": data_dir, **{f"--{key}": value for key, value in described.items()}}
    for option, value in used.items():
        if value is not None and kind is not ListKind.SPLITS:
            raise UsageError(f"{option} is for 'codecbench list splits', not for 'codecbench list {kind}'")
    check_data_dir(data_dir)
    pm = manager(plugin or ())
    if kind is ListKind.SPLITS:
        rows = catalogue.split_rows(chosen_workload(workload, described, plugin or (), data_dir), data_dir)
    else:
        rows = {
            ListKind.CODECS: lambda: catalogue.codec_rows(LocalCatalogue(pm).summaries()),
            ListKind.WORKLOADS: lambda: catalogue.workload_rows(workloads(pm)),
            ListKind.LINKS: lambda: catalogue.link_rows(links(pm)),
            ListKind.DEVICES: lambda: catalogue.device_rows(devices(pm)),
        }[kind]()
    show(json.dumps(rows, indent=1) if as_json else catalogue.text(rows, columns_of_a_terminal()))


@describing
def check(
    described: dict[str, Any],
    codec: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODEC|FILE]",
            help="A codec's name, or a plugin file: all its codecs and workloads.",
            show_default=False,
        ),
    ] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", metavar="W", help="A workload's name; or describe one.")
    ] = None,
    update_golden: Annotated[
        bool, typer.Option("--update-golden", help="Write golden bitstreams that are missing or of an older version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures and the sum only.")] = False,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """Check a codec or a workload against the contract with the conformance kit."""
    from codecbench import testing

    def print_outcome(outcome: Outcome) -> None:
        if not quiet or outcome.status == "failed":
            _show_outcome(outcome)

    check_data_dir(data_dir)
    codecs, workloads = _to_check(codec, workload, described, plugin or (), data_dir)
    if update_golden and not codecs:
        raise UsageError("--update-golden is for codecs; name one")
    outcomes: list[Outcome] = []
    if codecs:
        outcomes += testing.run_checks(codecs, update_golden=update_golden, on_outcome=print_outcome)
    for each in workloads:
        outcomes += testing.run_workload_checks(each, data_dir=data_dir, on_outcome=print_outcome)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    echo(f"{counted(len(outcomes), 'check')}, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _show_outcome(outcome: Outcome) -> None:
    """Print an outcome, and with --debug the lines of the plugin's own code where a check failed."""
    show(outcome.line())
    if debugging.get() and outcome.error is not None:
        for line in frames_of(outcome.error):
            show(f"  {line}")


def _to_check(
    text: str | None, workload: str | None, described: dict[str, Any], plugins: Sequence[Path], data_dir: Path | None
) -> tuple[list[type[Codec]], list[type[Workload]]]:
    """Return the codecs and the workloads that a name, a plugin file or options stand for.

    Raises UsageError where there are none.
    """
    path = Path(text) if text is not None and _names_file(text) else None
    if workload is not None or described:
        if text is not None and path is None:
            option = "--workload" if workload is not None else f"--{next(iter(described))}"
            raise UsageError(f"{text} is a codec and {option} stands for a workload; check one at a time")
        files = [*plugins, *([path] if path is not None else [])]
        return [], [chosen_workload(workload, described, files, data_dir)]
    if text is None:
        raise UsageError("name a codec or a plugin file, or a workload with --workload")
    return ([_codec_to_check(text, plugins)], []) if path is None else _in_file(path, plugins)


def _names_file(text: str) -> bool:
    path = Path(text)
    return path.suffix == ".py" or "/" in text or path.is_file()


def _codec_to_check(text: str, plugins: Sequence[Path]) -> type[Codec]:
    """Return the codec of a name. Raises UsageError where there is none."""
    known = codecs(manager(plugins))
    file = named_file(text)
    if text not in known and file is not None:
        raise UsageError(f"no codec {text!r} is installed; a plugin file is named with its ending: {file}")
    return pick(known, text, "codec")


def _in_file(path: Path, plugins: Sequence[Path]) -> tuple[list[type[Codec]], list[type[Workload]]]:
    """Return the codecs and workloads that a plugin file registers. Raises UsageError where it registers none."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a plugin file, or a codec")
    pm = manager([path, *(other for other in plugins if other.resolve() != path.resolve())])
    known, own = codecs(pm), codec_plugins(pm)
    chosen = [known[name] for name, hooks in own.items() if Path(hooks.file or "").resolve() == path.resolve()]
    alone = manager([path], with_entry_points=False)
    found = list(workloads(alone).values())
    if not chosen and not found:
        raise UsageError(
            f"{path} registers no codec and no workload; return its classes from codecbench_register_codecs() or "
            "codecbench_register_workloads()"
        )
    return chosen, found


def new_codec(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The codec's name: lower case, hyphens.")],
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a working plugin and its test, to start from."""
    from codecbench.cli import scaffold

    paths = scaffold.new_codec(name, folder)
    for path in paths:
        echo(f"wrote {path}")
    echo(f"next: {shlex.join(['codecbench', 'check', str(paths[0])])}")


@describing
def new_workload(
    described: dict[str, Any],
    workload: Annotated[str, typer.Argument(metavar="NAME", help="The workload's name: lower case, hyphens.")],
    toml: Annotated[
        bool, typer.Option("--toml", help="Write a TOML file, from --model, --data and --task, in place of Python.")
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a working workload and its test, to start from: a plugin file, or a TOML file without any code."""
    from codecbench.cli import scaffold

    if "name" in described:
        raise UsageError(f"the workload's name is {workload}; leave out --name")
    if toml or described:
        description = load(None, {"name": workload, **described}).description if described else None
        if description is None:
            raise UsageError("--toml needs --model, --data and --task")
        paths = scaffold.new_described_workload(workload, folder, description)
        command = ["codecbench", "run", str(paths[0])]
    else:
        paths = scaffold.new_workload(workload, folder)
        command = ["codecbench", "check", str(paths[0])]
    for path in paths:
        echo(f"wrote {path}")
    echo(f"next: {shlex.join(command)}")
