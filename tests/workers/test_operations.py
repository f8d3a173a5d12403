"""Operations between processes: every one that a client asks for is served, and none is named outside the workers."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from typing import get_args

import pytest
from support.paths import ROOT

from codecbench.workers.client import DeviceClient, EdgeClient, FitClient, ModelClient
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.connection import WorkerClient
from codecbench.workers.forks import ForkServer as ForkClient
from codecbench.workers.forks import SealedProcesses
from codecbench.workers.plugins import PluginClient
from codecbench.workers.process.codec import CodecProcess
from codecbench.workers.process.device import DeviceProcess
from codecbench.workers.process.edge import EdgeProcess
from codecbench.workers.process.fit import FitProcess
from codecbench.workers.process.fork_server import ForkServerProcess
from codecbench.workers.process.plugin import PluginProcess
from codecbench.workers.process.session import process_of
from codecbench.workers.protocol import Operation, Role

OPERATIONS = frozenset(get_args(Operation))
CORE = ROOT / "codecbench"
ENDS: Mapping[Role, tuple[type[WorkerClient], type[object]]] = {
    "device": (DeviceClient, DeviceProcess),
    "edge": (EdgeClient, EdgeProcess),
    "fit": (FitClient, FitProcess),
    "codec": (CodecClient, CodecProcess),
    "plugin": (PluginClient, PluginProcess),
    "forks": (ForkClient, ForkServerProcess),
}
"""The client and the process of each role."""
OF_MODELS = {"threads", "workload", "split"}


def named_operations(tree: ast.AST) -> Iterator[str]:
    """The names of operations that calls of `call` and `send` give as their first argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("call", "send"):
            for argument in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "op")]:
                if isinstance(argument, ast.Constant) and argument.value in OPERATIONS:
                    yield argument.value


def operations_in(*kinds: type[object]) -> set[str]:
    return {name for kind in kinds for name in named_operations(ast.parse(inspect.getsource(kind)))}


def operations_of(client: type[WorkerClient]) -> set[str]:
    """Every operation that a client asks for, its base classes' included; threads are those of models alone."""
    bases = [kind for kind in client.__mro__ if kind is not object]
    if not issubclass(client, ModelClient):
        bases.remove(WorkerClient)
    # A process that is started by exec is prepared by the one who starts it.
    started = [SealedProcesses] if client in (CodecClient, PluginClient, FitClient) else []
    return operations_in(*bases, *started)


def served_by(process: type[object]) -> set[str]:
    return {name.removeprefix("op_") for name in dir(process) if name.startswith("op_")}


def test_every_role_has_two_ends() -> None:
    assert set(ENDS) == set(get_args(Role))
    assert {client.role for client, _ in ENDS.values()} == set(ENDS)


@pytest.mark.parametrize("role", ENDS)
def test_a_process_serves_what_its_client_asks_for_and_nothing_else(role: Role) -> None:
    client, process = ENDS[role]
    asked = operations_of(client)
    assert asked == served_by(process)
    assert (asked >= OF_MODELS) == (role in ("device", "edge", "fit"))


@pytest.mark.parametrize("role", [role for role in ENDS if role != "forks"])
def test_a_role_starts_the_process_that_serves_it(role: Role) -> None:
    class Connection:
        send_bytes = staticmethod(len)

    assert type(process_of(role, Connection())) is ENDS[role][1]  # type: ignore[arg-type]


def test_every_operation_is_asked_for_and_served() -> None:
    assert set().union(*(operations_of(client) for client, _ in ENDS.values())) == OPERATIONS
    assert set().union(*(served_by(process) for _, process in ENDS.values())) == OPERATIONS


def test_a_codecs_process_and_the_models_serve_nothing_in_common() -> None:
    models = served_by(DeviceProcess) | served_by(EdgeProcess)
    assert models & (served_by(CodecProcess) | served_by(PluginProcess)) == set()
    assert served_by(DeviceProcess) & served_by(EdgeProcess) == OF_MODELS


def test_no_operation_is_named_outside_the_workers() -> None:
    named = {}
    for path in sorted(CORE.rglob("*.py")):
        place = path.relative_to(CORE).as_posix()
        if not place.startswith("workers/"):
            named[place] = sorted(named_operations(ast.parse(path.read_text())))
    assert {place: names for place, names in named.items() if names} == {}
    assert len(named) > 80
