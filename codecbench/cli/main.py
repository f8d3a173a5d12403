"""The command line `codecbench`, with all its commands.

Every error is one line. `STATUSES` has the exit statuses.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from codecbench import __version__
from codecbench.cli import authors, devices, figures, links, plan, report, run, tables
from codecbench.cli.errors import INTERRUPTED, CommandGroup, one_line_errors
from codecbench.cli.options import print_any_text, show
from codecbench.cli.shell.completion import complete_words, completion
from codecbench.system.stopping import stopped_by_signals

STATUSES = (
    "Exit status: 0 where all went well, 1 where a cell, a fit or a check failed or no plan is feasible, 2 for a "
    "mistake in usage, a plugin or data, 70 for an internal error, 130 after Ctrl-C, SIGTERM or SIGHUP."
)

app = typer.Typer(
    name="codecbench", cls=CommandGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Which codec should carry the tensor when a network is split between a device and an edge server?",
    epilog=STATUSES,
)  # fmt: skip


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
    # main() finds --debug at any place in the arguments; it is declared here for the help text.
    del debug


app.command()(run.run)
app.command()(run.status)
app.command()(run.fit)
app.command()(tables.table)
app.command()(plan.plan)
app.command("validate-plan")(plan.validate_plan)
app.command("rehearse", hidden=True)(plan.old_validate_plan)
app.command()(figures.figure)
app.command()(report.report)
app.command()(report.leaderboard)
app.command()(tables.compare)
app.command()(tables.merge)
app.command()(tables.verify)
app.command()(tables.export)
app.command("list")(authors.list_)
app.command()(authors.check)
app.command("new-codec")(authors.new_codec)
app.command("new-workload")(authors.new_workload)
app.command()(completion)
app.command("complete-words", hidden=True)(complete_words)

data_app = typer.Typer(
    cls=CommandGroup, help="Datasets beyond what ships with the package.", no_args_is_help=True, rich_markup_mode=None
)
data_app.command("get")(run.data_get)
app.add_typer(data_app, name="data")
app.add_typer(links.app, name="link")
app.add_typer(devices.app, name="device")


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; after an error, ends the program with one line and a status."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    print_any_text()
    with one_line_errors(debug), stopped_by_signals():
        status = app(args=[word for word in words if word != "--debug"], prog_name="codecbench", standalone_mode=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt  # versions of Typer return this status or raise Abort
        if isinstance(status, int) and status:
            raise SystemExit(status)


if __name__ == "__main__":
    main()
