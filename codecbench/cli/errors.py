"""Ends a command after an error, with one line and an exit status."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from codecbench.cli.options import close_output, debugging, drop_unwritten, echo, show
from codecbench.errors import CodecbenchError, UsageError
from codecbench.names import suggestion
from codecbench.system.files import reason_of

INTERRUPTED = 130
"""The exit status of a command that was stopped: by Ctrl-C, SIGTERM or SIGHUP."""


class CommandGroup(TyperGroup):
    """A group of commands that raises UsageError for an unknown command, with the nearest name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the command that the first argument names. Raises UsageError where there is none."""
        name = args[0]
        # Typer handles words that look like options: it knows the options of the group.
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = [known for known, command in self.commands.items() if not command.hidden]
            raise UsageError(f"no command {name!r}{suggestion(name, known) or f'; see {ctx.command_path} --help'}")
        return super().resolve_command(ctx, args)


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Ends the program with one line and a status after any error in the block; with `debug`, raises it instead."""
    debugging.set(debug)
    try:
        yield
    except CodecbenchError as error:
        if debug:
            if error.frames:
                error.add_note("\n".join(["In the plugin's own code:", *(f"  {line}" for line in error.frames)]))
            raise
        echo(f"codecbench: {error}")
        raise SystemExit(2) from error
    except (KeyboardInterrupt, typer.Abort) as error:
        echo("codecbench: stopped; finished cells are kept, and the same command goes on from there")
        raise SystemExit(INTERRUPTED) from error
    except Exception as error:
        if isinstance(error, BrokenPipeError) and close_output():
            raise SystemExit(0) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            echo(f"codecbench: {reason_of(error)}; make room and run the same command again")
            drop_unwritten()
            raise SystemExit(2) from error
        if hasattr(error, "format_message"):
            end_with_usage(error)
        if debug:
            raise
        reason = " ".join(str(error).split())
        echo(f"codecbench: internal error, {type(error).__name__}: {reason}; --debug shows where, please report it")
        raise SystemExit(70) from error


def end_with_usage(error: Any) -> NoReturn:
    """Ends the program like click for click's own errors, but in one line.

    Typer may have its own copy of click, so errors are recognised by their attributes, not by their class.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        show(error.format_message())
        raise SystemExit(0)
    # pydantic, which checks values, begins its texts with this.
    text = " ".join(str(error.format_message()).split()).replace("Value error, ", "")
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else "; see --help"
        text = f"no option {error.option_name}{near}"
    echo(f"codecbench: {text[0].lower()}{text[1:].rstrip('.')}")
    raise SystemExit(2)
