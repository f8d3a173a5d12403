"""Traces a model into a graph: by torch.fx, which keeps modules, else by torch.export, which sees operators."""

from __future__ import annotations

import inspect
import io
import linecache
import logging
import operator
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx, nn

from codecbench.errors import PluginError
from codecbench.workers.process.graphs.outputs import NARROW, CastInput, FlatOutput, SampleBySample, same_outputs

Way: TypeAlias = Literal["fx", "export", "export, sample by sample"]

ADVICE = "wrap the backbone in a module of its own, and leave post-processing to the metric"

_MAX_REASON_CHARS = 160
_MAX_CODE_CHARS = 100
_CHECKS = ("_assert", "_check", "sym_constrain", "_guards_fn")
_FOREIGN = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[3]}/")
"""The folders of torch and of this package: an error in them was caused by the model's code that called them."""


@dataclass(frozen=True)
class TracedModel:
    """A model as a graph, and `full`, the model itself in a form that takes the probes.

    The graph takes one tensor, with the batch on axis 0, and gives the same tensors. If `one_by_one`, it takes batches
    of one only.
    """

    full: nn.Module
    module: fx.GraphModule
    way: Way

    @property
    def one_by_one(self) -> bool:
        """True if the graph takes batches of one only."""
        return self.way == "export, sample by sample"


def trace(model: nn.Module, probes: Sequence[Tensor]) -> TracedModel:
    """Return a model's graph, traced on input batches of at least two sizes.

    Raises PluginError if the model takes several inputs, if it does not run on the probes, or if neither torch.fx nor
    torch.export can trace it: the text says which line of the model they cannot follow.
    """
    constants = _constants(model)
    singles = [probe[:1] for probe in probes]
    form = runnable(model, probes[0])
    if form.error is not None:
        reason = str(form.error).partition("\n")[0]
        shape = tuple(probes[0].shape)
        raise PluginError(f"the model does not run on an input of shape {shape}: {reason}") from form.error
    full, dtype = form.single, form.dtype
    error: Exception | None = None
    if form.batched:
        for way, by in (("fx", _by_fx), ("export", _by_export)):
            try:
                module = with_cast(by(model, probes[0], _varying_axes(probes), constants, dtype), dtype)
            except Exception as raised:
                error = raised
            else:
                if _gives_the_same(module, full, [*probes, singles[0]]):
                    return TracedModel(full, module, "fx" if way == "fx" else "export")
    try:
        lengths = [axis for axis in _varying_axes(probes) if axis]
        module = with_cast(_by_export(model, singles[0], lengths, constants, dtype), dtype)
    except Exception as raised:
        raise _untraceable(model, raised) from raised
    if not _gives_the_same(module, full, singles):
        raise _untraceable(model, error) from error
    return TracedModel(SampleBySample(full), module, "export, sample by sample")


@dataclass(frozen=True)
class RunnableModel:
    """A model in a form that takes inputs: `single` takes batches of one, and others too if `batched`.

    `dtype` is that of its inputs if they have to be turned into it. `error` was raised if it runs in no form.
    """

    single: nn.Module
    batched: bool
    dtype: torch.dtype | None
    error: Exception | None = None

    @property
    def full(self) -> nn.Module:
        """The model in a form that takes any batch."""
        return self.single if self.batched else SampleBySample(self.single)


def runnable(model: nn.Module, probe: Tensor) -> RunnableModel:
    """Return a model in a form that takes the probe, a batch of several samples."""
    dtype = _own_dtype(model, probe[:1])
    single = model if dtype is None else CastInput(model, dtype)
    error = _run_error(single, probe)
    if error is not None and _run_error(single, probe[:1]) is None:
        return RunnableModel(single, batched=False, dtype=dtype)
    return RunnableModel(single, batched=True, dtype=dtype, error=error)


def may_write(node: fx.Node) -> bool:
    """True if a node may write to a tensor in place, so that it is needed even if its result is not used."""
    if isinstance(node.target, torch._ops.OpOverload):
        return bool(node.target._schema.is_mutable)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name == "setitem" or (name.endswith("_") and not name.endswith("__"))
    return node.op == "call_module" or in_place or not {"inplace", "out"}.isdisjoint(node.kwargs)


def with_cast(module: fx.GraphModule, dtype: torch.dtype | None) -> fx.GraphModule:
    """Return a graph that first turns its input into another dtype, if one is named."""
    if dtype is not None:
        (start,) = (node for node in module.graph.nodes if node.op == "placeholder")
        with module.graph.inserting_after(start):
            cast = module.graph.call_method("to", (start, dtype))
        start.replace_all_uses_with(cast, delete_user_cb=lambda user: user is not cast)
        module.recompile()
    return module


def _constants(model: nn.Module) -> dict[str, Any]:
    """Return the defaults of all arguments of a model but the first. Raises PluginError if one has none."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a compiled method
        return {}
    parameters = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    first, others = parameters[:1], parameters[1:]
    needed = [p for p in others if p.default is inspect.Parameter.empty]
    if needed or (first and first[0].kind not in positional):
        count = len(needed) + 1
        raise PluginError(f"the model takes {count} inputs; a workload's model takes one tensor")
    return {parameter.name: parameter.default for parameter in others}


def _own_dtype(model: nn.Module, probe: Tensor) -> torch.dtype | None:
    """Return the dtype of a float16 or bfloat16 model that does not take float32 inputs; None for any other model."""
    found = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if not found or not found <= set(NARROW) or len(found) > 1 or not probe.is_floating_point():
        return None
    return None if _run_error(model, probe) is None else found.pop()


def _run_error(model: nn.Module, probe: Tensor) -> Exception | None:
    """Run a model; return what it raised."""
    try:
        with torch.inference_mode():
            model(probe.clone())
    except Exception as error:
        return error
    return None


def _varying_axes(probes: Sequence[Tensor]) -> list[int]:
    return [axis for axis in range(probes[0].ndim) if len({probe.shape[axis] for probe in probes}) > 1]


def _gives_the_same(module: nn.Module, full: nn.Module, probes: Sequence[Tensor]) -> bool:
    """True if a graph gives the values of the model on all probes."""
    try:
        with torch.inference_mode():
            return all(same_outputs(module(probe.clone()), full(probe.clone())) for probe in probes)
    except Exception:
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Show neither warnings nor messages of torch within a with block: it prints whole graphs when it fails."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# --- torch.fx ---------------------------------------------------------------------------------------------------------


def _by_fx(
    model: nn.Module, _probe: Tensor, _axes: Sequence[int], constants: dict[str, Any], _dtype: torch.dtype | None
) -> fx.GraphModule:
    """Return the graph that torch.fx finds. Raises PluginError if it has other inputs than one."""
    with _quiet():
        traced = fx.symbolic_trace(model, concrete_args=constants or None)
    for node in reversed(traced.graph.nodes):
        # Arguments that have their defaults, and assertions that they do. Items that are not used, as a GRU's last
        # state in `outputs, _ = gru(x)`: a tail would compute all that it depends on.
        bound = node.op == "placeholder" and node.name.removesuffix("_1") in constants
        checks = "_assert" in getattr(node.target, "__name__", "")
        if not node.users and (bound or checks or node.target in (operator.eq, operator.getitem)):
            traced.graph.erase_node(node)
    inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise PluginError(f"the model takes {len(inputs)} inputs; a workload's model takes one tensor")
    traced.graph.set_codegen(fx.graph.CodeGen())
    traced.recompile()
    return traced


# --- torch.export -----------------------------------------------------------------------------------------------------


def _by_export(
    model: nn.Module, probe: Tensor, axes: Sequence[int], _constants: dict[str, Any], dtype: torch.dtype | None
) -> fx.GraphModule:
    """Return the graph that torch.export finds, without its checks, with `axes` of any length."""
    dynamic = dict.fromkeys(axes, torch.export.Dim.AUTO)
    example = probe.clone() if dtype is None else probe.to(dtype)
    with _quiet(), torch.no_grad():
        program = torch.export.export(FlatOutput(model), (example,), dynamic_shapes=(dynamic,), strict=False)
        return _plain(program.module())


def _plain(exported: Any) -> fx.GraphModule:
    """Return an exported module as an ordinary graph with the names of the model that was wrapped in FlatOutput."""
    graph: fx.Graph = exported.graph
    graph.set_codegen(fx.graph.CodeGen())
    for node in reversed(graph.nodes):
        if not node.users and any(word in str(node.target) for word in _CHECKS):
            graph.erase_node(node)
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output") or may_write(node))
    values: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            value = operator.attrgetter(node.target)(exported)
            node.target = str(node.target).removeprefix("model.")
            values[node.target] = value
        stack = {
            key: (path.removeprefix("model").removeprefix("."), kind)
            for key, (path, kind) in node.meta.get("nn_module_stack", {}).items()
            if not key.startswith("_empty")
        }
        node.meta = {"nn_module_stack": {key: entry for key, entry in stack.items() if entry[0]}}
    return fx.GraphModule(values, graph)


# --- what cannot be traced --------------------------------------------------------------------------------------------


def _untraceable(model: nn.Module, error: Exception | None) -> PluginError:
    """Return the error of a model that cannot be traced, with its line that is to blame."""
    if error is None:
        return PluginError(f"{type(model).__name__} cannot be cut: its graph gives other values than itself; {ADVICE}")
    reason = " ".join(next(filter(None, str(error).splitlines()), type(error).__name__).split())
    if len(reason) > _MAX_REASON_CHARS:
        reason = f"{reason[:_MAX_REASON_CHARS]}..."
    if any(type(raised).__name__ == "GuardOnDataDependentSymNode" for raised in _chain(error)):
        reason = "what it does depends on values that are known only when the model runs"
    place = next(filter(None, map(_model_line, _chain(error))), None)
    call = f" at {place}" if place else ""
    return PluginError(
        f"{type(model).__name__} cannot be cut: torch.export stops{call}: {reason.rstrip('.')}; {ADVICE}"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _model_line(error: BaseException) -> str | None:
    """Return the last line outside torch, Python and this package that an error passed through."""
    library = sysconfig.get_paths()["stdlib"]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        installed = "site-packages" in file or "dist-packages" in file
        if file.startswith(("<", *_FOREIGN)) or (file.startswith(library) and not installed):
            continue
        code = " ".join(linecache.getline(file, line, frame.f_globals).split())
        shown = code if len(code) <= _MAX_CODE_CHARS else f"{code[:_MAX_CODE_CHARS]}..."
        return f"`{shown}` ({Path(file).name}, line {line})"
    return None
