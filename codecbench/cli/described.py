"""The options that describe a workload by its model, its data and its task, for all commands that take one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codecbench.experiment.config import DEFAULT_WORKLOAD, load
from codecbench.names import pick
from codecbench.registry import manager, workloads
from codecbench.workload import Workload

PANEL: dict[str, Any] = {
    "model": Annotated[
        str | None,
        typer.Option("--model", metavar="KIND:NAME", help="Describe a workload: its model, such as hf:NAME-OR-FOLDER."),
    ],
    "data": Annotated[
        str | None, typer.Option("--data", metavar="KIND:PLACE", help="Its data, such as imagefolder:DIR.")
    ],
    "task": Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Its task, such as classification or agreement.")
    ],
    "weights": Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="The model's weights, .safetensors; or random, to try it out."),
    ],
    "name": Annotated[
        str | None, typer.Option("--name", metavar="W", help="The described workload's name [default: made of it].")
    ],
    "size": Annotated[
        int | None, typer.Option("--size", metavar="N", help="Side of the model's pictures [default: the model's].")
    ],
    "shape": Annotated[
        str | None,
        typer.Option("--shape", metavar="AxBxC", help="Shape of other inputs; ..N for an axis that varies up to N."),
    ],
    "labels": Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Names of the model's classes in order, one a line.")
    ],
    "budget": Annotated[
        float | None, typer.Option("--budget", metavar="X", help="Usual accepted loss of the described workload.")
    ],
}  # fmt: skip
"""The type and help of each option, by its key in a description."""
ARGUMENT = "described"
"""The argument in which a command gets these options."""


def describing(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with these options in the place of its argument `described`, a mapping of the used ones."""
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for key, kind in PANEL.items()
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values() if parameter.name != ARGUMENT
    ]  # fmt: skip
    at = next((n for n, parameter in enumerate(own) if parameter.name == "workload"), -1) + 1

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        described = {key: found for key in PANEL if (found := values.pop(key)) is not None}
        command(**values, **{ARGUMENT: described})

    parameters = [*own[:at], *options, *own[at:]]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def chosen_workload(
    workload: str | None, described: Mapping[str, Any], plugins: Sequence[Path], data_dir: Path | None
) -> type[Workload]:
    """Return the workload of a name or of a description. Raises UsageError where there is none."""
    if described:
        from codecbench.adapters.described import workload_class

        config = load(None, {"workload": workload, "data_dir": data_dir, **described})
        assert config.description is not None
        return workload_class(config.description)
    return pick(workloads(manager(plugins)), workload or DEFAULT_WORKLOAD, "workload")
