"""The checks of workloads, a function each. A check's docstring is the requirement that it tests.

A check raises CheckFailed or, through `CheckedWorkload`, a DataError with file and line; or CheckSkipped if it does not
apply. `needs` names the checks that must pass first. docs/reference/kit.md lists these docstrings.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.checked_workload import workload_class_fault
from codecbench.descriptions.data_hash import data_sha256, value_sha256
from codecbench.descriptions.describe import describe_workload, workload_reference
from codecbench.errors import one_line
from codecbench.kit.runner import CheckFailed, CheckSkipped, require
from codecbench.kit.workload_cases import SCORED, SUBSETS, WorkloadCase
from codecbench.locations import class_location
from codecbench.registry import not_found_by_name
from codecbench.workload import Outcome, RatioMetric, SetMetric, Subset

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TOLERANCE = 1e-4
"""The tolerated difference between outputs in a batch and alone, as a share of the largest value."""
SAME_VALUES = 1e-9
"""The tolerated difference between two values of a set metric, as a share of the larger one."""


@dataclass(frozen=True)
class WorkloadCheck:
    """One requirement of the contract of workloads. `needs` names the checks that must pass before it is run."""

    name: str
    run: Callable[[WorkloadCase], None]
    needs: tuple[str, ...]

    @property
    def says(self) -> str:
        """The requirement, in a paragraph."""
        return " ".join((self.run.__doc__ or "").split())


WORKLOAD_CHECKS: dict[str, WorkloadCheck] = {}
"""All checks by name, in the order of execution."""


def workload_check(*needs: str) -> Callable[[Callable[[WorkloadCase], None]], Callable[[WorkloadCase], None]]:
    """Return a decorator that registers a function as a check of workloads."""

    def add(run: Callable[[WorkloadCase], None]) -> Callable[[WorkloadCase], None]:
        WORKLOAD_CHECKS[run.__name__] = WorkloadCheck(run.__name__, run, needs)
        return run

    return add


@workload_check()
def check_class(case: WorkloadCase) -> None:
    """Class attributes are valid, and another process finds the class by its name.

    `metrics` is a tuple of metrics with different names, `default_splits` names split points, `budget` is a number of
    at least 0, and the class has a docstring.
    """
    kind = case.workload
    fault = workload_class_fault(kind)
    require(fault is None, fault or "")
    require((kind.__doc__ or "").strip(), f"{class_location(kind)}: the class has no docstring; say what is measured")
    if workload_reference(kind).startswith("described:"):
        return
    reason = not_found_by_name(kind)
    require(reason is None, f"{class_location(kind)}: {reason}")


# --- samples ----------------------------------------------------------------------------------------------------------


@workload_check("check_class")
def check_identifiers(case: WorkloadCase) -> None:
    """Identifiers of samples are integers or texts, differ within a subset, and are the same each time.

    `test` and `choice` are not empty.
    """
    other = case.make()
    for subset in SUBSETS:
        found = case.checked.sample_ids(subset)
        same = found == case.checked.sample_ids(subset) == other.sample_ids(subset)
        case.require(same, "sample_ids", f"sample_ids({subset!r}) gives others the second time; fix their order")
        case.require(found or subset == "fit", "sample_ids", f"sample_ids({subset!r}) is empty; give some samples")


@workload_check("check_identifiers")
def check_inputs(case: WorkloadCase) -> None:
    """Inputs have the dtype and shape of `input_spec` and are finite; those of an image are multiples of 1/255."""
    for subset in SUBSETS:
        case.inputs(subset)


@workload_check("check_inputs")
def check_inputs_repeat(case: WorkloadCase) -> None:
    """A sample's input is the same each time: read again, alone, in another order, and by another workload.

    What a caller does to an input does not change the next one.
    """
    for subset in SUBSETS:
        first, positions = case.inputs(subset), case.positions(subset)
        for array in case.checked.inputs(subset, positions):
            if array.flags.writeable:
                array[...] = 0
        _require_inputs(case, subset, positions, first, "after its arrays were changed; return copies")
        alone = [case.checked.inputs(subset, [position])[0] for position in positions]
        _require_equal(case, subset, alone, first, "when it is read alone")
        _require_inputs(case, subset, positions[::-1], first[::-1], "when samples are read backwards")
        _require_equal(case, subset, case.make().inputs(subset, positions), first, "in another workload; seed it")


def _require_inputs(
    case: WorkloadCase, subset: Subset, positions: Sequence[int], expected: Sequence[NDArray[Any]], when: str
) -> None:
    _require_equal(case, subset, case.checked.inputs(subset, positions), expected, when)


def _require_equal(
    case: WorkloadCase, subset: Subset, found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]], when: str
) -> None:
    import numpy as np

    for position, (one, other) in enumerate(zip(found, expected, strict=True)):
        text = f"inputs({subset!r}, ...) gives another input at position {position} {when}"
        case.require(np.array_equal(one, other), "inputs", text)


@workload_check("check_inputs")
def check_subsets(case: WorkloadCase) -> None:
    """`fit`, `choice` and `test` share no sample: none has the same identifier and input in two of them."""
    seen: dict[bytes, tuple[Subset, Any]] = {}
    for subset in SUBSETS:
        ids = case.checked.sample_ids(subset)
        others = {known for other in SUBSETS if other != subset for known in case.checked.sample_ids(other)}
        common = [at for at in range(len(ids)) if ids[at] in others][: len(case.positions(subset))]
        chosen = [*case.positions(subset), *(at for at in common if at >= len(case.positions(subset)))]
        for position, array in zip(chosen, case.checked.inputs(subset, chosen), strict=True):
            other, known = seen.setdefault(value_sha256([ids[position], array]), (subset, ids[position]))
            case.require(
                other == subset, "sample_ids", f"{known!r} is the same sample in {other!r} and in {subset!r}; part them"
            )


@workload_check("check_inputs")
def check_targets(case: WorkloadCase) -> None:
    """Targets are the same each time, alone as well, and can be pickled for the process that scores."""
    if case.workload.targets_from_model:
        raise CheckSkipped("the full model's outputs are the targets")
    for subset in SUBSETS:
        positions = case.positions(subset)
        found = [value_sha256(target) for target in case.checked.targets(subset, positions)]
        alone = [value_sha256(case.checked.targets(subset, [position])[0]) for position in positions]
        case.require(found == alone, "targets", f"targets({subset!r}, ...) gives others when samples are read alone")
        others = [value_sha256(target) for target in case.make().targets(subset, positions)]
        case.require(found == others, "targets", f"targets({subset!r}, ...) gives others in another workload; seed it")
        try:
            crossed = pickle.loads(pickle.dumps(case.checked.targets(subset, positions)))  # noqa: S301 - its own bytes
        except Exception as error:
            case.fail("targets", f"targets cannot be sent to another process: {one_line(error)}")
        case.require([*map(value_sha256, crossed)] == found, "targets", "targets are others once they were pickled")


# --- the model --------------------------------------------------------------------------------------------------------


@workload_check("check_class")
def check_weights_hash(case: WorkloadCase) -> None:
    """`weights_sha256` gives 64 lower-case hexadecimal digits, the same ones each time."""
    found = case.checked.weights_sha256()
    same = found == case.checked.weights_sha256() == case.make().weights_sha256()
    case.require(same, "weights_sha256", "weights_sha256 gives another hash the second time; hash the weights' file")


@workload_check("check_class")
def check_model(case: WorkloadCase) -> None:
    """`build_model` gives a model in evaluation mode that can be cut, and has the same weights each time.

    It gives the same outputs for the same batch, and axis 0 of each of them is the batch.
    """
    from codecbench.workers.process.models import ModelHost

    again = ModelHost(case.make(), "cpu").cut_model.parameters_sha256()
    same = case.host.cut_model.parameters_sha256() == again
    case.require(same, "build_model", "the model has other weights the second time; load them from a file, or seed it")


@workload_check("check_model", "check_inputs")
def check_outputs(case: WorkloadCase) -> None:
    """The model's outputs are numbers (no NaN), and those of a sample do not depend on the others of its batch."""
    import numpy as np

    inputs = case.inputs("test")
    for position, output in enumerate(case.outputs):
        (alone,) = case.host.run(case.host.full_model, [inputs[position]])
        for number, (one, other) in enumerate(zip(output, alone, strict=True)):
            text = f"output {number} of the model for test sample {position}"
            if one.dtype.kind == "f":
                case.require(not np.isnan(one).any(), "build_model", f"{text} has NaN")
            close = one.shape == other.shape and np.allclose(one, other, rtol=0, atol=TOLERANCE * _largest(other))
            case.require(close, "build_model", f"{text} is another one in a batch than alone; call eval()")
    same = all(map(np.array_equal, inputs, case.inputs("test")))
    case.require(same, "build_model", "the model changes its input; work on a copy")


@workload_check("check_model")
def check_splits(case: WorkloadCase) -> None:
    """The model has the split points of `default_splits`, and head and tail give the model's outputs there."""
    from codecbench.descriptions.data_hash import HASHED_SAMPLES
    from codecbench.names import suggestion

    cuts = case.host.cut_model.cuts
    for name in case.workload.default_splits:
        near = suggestion(name, cuts) or f"; it has {', '.join([*cuts][:HASHED_SAMPLES])}"
        case.require(name in cuts, "default_splits", f"default_splits has {name!r}, which is no split point{near}")
        case.host.split(name)  # which holds both against the model


# --- metrics ----------------------------------------------------------------------------------------------------------


@workload_check("check_outputs", "check_targets")
def check_score(case: WorkloadCase) -> None:
    """`score` gives an outcome for each metric: finite numbers, the same each time, and it changes neither argument.

    A binary metric has numerators 0 and 1 and the denominator 1.
    """
    import numpy as np

    outputs = [tuple(leaf.copy() for leaf in output) for output in case.outputs]
    targets = case.targets("test")
    before = [value_sha256(target) for target in targets]
    found = case.checked.scores(outputs, targets)
    unchanged = all(map(np.array_equal, _leaves(outputs), _leaves(case.outputs)))
    case.require(unchanged, "score", "score changes the outputs that it is given; work on a copy")
    case.require([*map(value_sha256, targets)] == before, "score", "score changes the target that it is given")
    again = case.scores(case.outputs[::-1], targets[::-1])[::-1]
    case.require(_same(found, again), "score", "score gives another outcome the second time, in another order")
    for metric in case.workload.metrics:
        for outcomes in found:
            outcome = outcomes[metric.outcome_name]
            finite = all(np.isfinite(value).all() for value in outcome)
            case.require(finite, "score", f"score gave {_shown(outcome)} for {metric.name!r}, which is not finite")
            if isinstance(metric, RatioMetric) and metric.binary:
                right = outcome in ((0.0, 1.0), (1.0, 1.0))
                text = f"{metric.name!r} is binary, and score gave {_shown(outcome)}; give 0 or 1, and 1"
                case.require(right, "score", text)


@workload_check("check_score")
def check_metric_varies(case: WorkloadCase) -> None:
    """The first metric depends on the outputs: other samples', negated ones and zeros do not all score as their own."""
    import numpy as np

    name, targets = case.workload.metrics[0].outcome_name, case.targets("test")
    own = [outcomes[name] for outcomes in case.scores(case.outputs, targets)]
    others: list[list[tuple[NDArray[Any], ...]]] = [
        [*case.outputs[1:], case.outputs[0]],
        [tuple(np.negative(leaf) if leaf.dtype.kind == "f" else leaf for leaf in output) for output in case.outputs],
        [tuple(np.zeros_like(leaf) for leaf in output) for output in case.outputs],
    ]
    for outputs in others:
        if case.workload.targets_from_model or _can_pair(case.outputs, outputs):
            found = [outcomes[name] for outcomes in case.scores(outputs, targets)]
            if not _same(own, found):
                return
    case.fail("score", f"{case.workload.metrics[0].name!r} scores any outputs alike; compare them with the target")


def _can_pair(one: Sequence[tuple[NDArray[Any], ...]], other: Sequence[tuple[NDArray[Any], ...]]) -> bool:
    """True if the outputs of each sample have the shapes of another's, so that they can stand for it."""
    return all([a.shape for a in x] == [b.shape for b in y] for x, y in zip(one, other, strict=True))


@workload_check("check_score")
def check_set_metrics(case: WorkloadCase) -> None:
    """A set metric gives a value for each set, which depends on nothing but the samples in it and their counts.

    Neither other sets nor samples that are left out, nor the order of samples make a difference.
    """
    import numpy as np

    metrics = [metric for metric in case.workload.metrics if isinstance(metric, SetMetric)]
    if not metrics:
        raise CheckSkipped("all metrics are ratios of sums")
    scored = case.scores(case.outputs, case.targets("test"))
    count = len(scored)
    half = max(1, count // 2)
    sets = np.ones((3, count), np.int64)
    sets[1, half:] = 0
    sets[2] = 1 + np.arange(count) % 3
    for metric in metrics:
        outcomes: list[Any] = [outcomes[metric.outcome_name] for outcomes in scored]
        together = case.checked.metric_values(metric, outcomes, sets)
        alone = [case.checked.metric_values(metric, outcomes, sets[i : i + 1])[0] for i in range(len(sets))]
        _require_values(case, metric, together, alone, "for a set alone and among others")
        left = case.checked.metric_values(metric, outcomes[:half], sets[:1, :half])
        _require_values(case, metric, together[1:2], left, "where samples have the count 0 and where they are missing")
        backwards = case.checked.metric_values(metric, outcomes[::-1], sets[:, ::-1])
        _require_values(case, metric, together, backwards, "when samples come in another order")


def _require_values(case: WorkloadCase, metric: SetMetric, one: ArrayLike, other: ArrayLike, when: str) -> None:
    import numpy as np

    if not np.allclose(one, other, rtol=SAME_VALUES, atol=0, equal_nan=True):
        place = class_location(type(metric))
        raise CheckFailed(f"workload {case.label!r} ({place}): values of {metric.name!r} differ {when}")


# --- other processes --------------------------------------------------------------------------------------------------


@workload_check("check_targets", "check_model", "check_splits", "check_score")
def check_other_processes(case: WorkloadCase) -> None:
    """Processes of device and edge build the same model, and the device's reads the same samples as this one.

    The edge's process has no data.
    """
    from codecbench.workers.pair import Pair, WorkloadRef

    own = describe_workload(case.make().workload)
    positions = {subset: case.positions(subset) for subset in (*SCORED, "fit") if case.positions(subset)}
    with Pair(WorkloadRef(workload_reference(case.workload), case.data_dir, "cpu")) as pair:
        info, digest = pair.device.describe_workload(), pair.device.data_hash(positions)
        _ = pair.edge  # its start compares the weights
    case.require(info.sample_ids == own.sample_ids, "sample_ids", "sample_ids gives others in another process")
    samples = {
        subset: (case.inputs(subset), () if case.workload.targets_from_model else case.checked.targets(subset, at))
        for subset, at in positions.items()
    }
    case.require(digest == data_sha256(samples), "inputs", "inputs or targets are others in another process; seed them")


def _largest(values: NDArray[Any]) -> float:
    """Return the largest finite magnitude."""
    import numpy as np

    magnitudes = np.abs(values, dtype=np.float64)
    return float(magnitudes.max(initial=0.0, where=np.isfinite(magnitudes)))


def _leaves(outputs: Sequence[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
    return [leaf for output in outputs for leaf in output]


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """True for equal outcomes, sample by sample."""
    return [*map(value_sha256, one)] == [*map(value_sha256, other)]


def _shown(outcome: Outcome | Mapping[str, Outcome]) -> str:
    return " ".join(repr(outcome).split())[:80]
