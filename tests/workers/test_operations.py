"""Operations between processes: every one that a client asks for is served, and none is named outside the workers."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import get_args

import pytest
from support.paths import ROOT

from codecbench.workers.client import DeviceClient, EdgeClient, FitClient
from codecbench.workers.connection import WorkerClient
from codecbench.workers.process.device import DeviceProcess
from codecbench.workers.process.edge import EdgeProcess
from codecbench.workers.process.fit import FitProcess
from codecbench.workers.protocol import Operation

OPERATIONS = frozenset(get_args(Operation))
CORE = ROOT / "codecbench"


def named_operations(tree: ast.AST) -> Iterator[str]:
    """The names of operations that calls of `call` and `send` give as their first argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("call", "send"):
            for argument in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "op")]:
                if isinstance(argument, ast.Constant) and argument.value in OPERATIONS:
                    yield argument.value


def operations_of(client: type[WorkerClient]) -> set[str]:
    """Every operation that a client asks for, its base classes' included."""
    sources = (inspect.getsource(kind) for kind in client.__mro__ if kind is not object)
    return {name for source in sources for name in named_operations(ast.parse(source))}


@pytest.mark.parametrize(
    ("client", "process"),
    [(DeviceClient, DeviceProcess), (EdgeClient, EdgeProcess), (FitClient, FitProcess)],
    ids=["device", "edge", "fit"],
)
def test_a_process_serves_what_its_client_asks_for(client: type[WorkerClient], process: type[object]) -> None:
    asked = operations_of(client)
    assert {"threads", "workload", "split"} < asked
    assert [name for name in sorted(asked) if not callable(getattr(process, f"op_{name}", None))] == []


def test_every_operation_is_asked_for_by_a_client() -> None:
    assert set().union(*map(operations_of, (DeviceClient, EdgeClient, FitClient))) == OPERATIONS


def test_every_method_of_a_process_is_an_operation() -> None:
    served = {name for kind in (DeviceProcess, EdgeProcess, FitProcess) for name in dir(kind)}
    assert {name.removeprefix("op_") for name in served if name.startswith("op_")} == OPERATIONS


def test_no_operation_is_named_outside_the_workers() -> None:
    named = {}
    for path in sorted(CORE.rglob("*.py")):
        place = path.relative_to(CORE).as_posix()
        if not place.startswith("workers/"):
            named[place] = sorted(named_operations(ast.parse(path.read_text())))
    assert {place: names for place, names in named.items() if names} == {}
    assert len(named) > 80
