"""A workload whose answers are checked: a mistake in one is an error that names the workload, its file and its line.

Nothing of it may be booked on a codec, so every process that holds a workload calls it through this class.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from codecbench.codec import TensorSpec
from codecbench.errors import CodecbenchError, DataError, one_line, shown
from codecbench.locations import class_location, method_location, raised_location
from codecbench.workload import Metric, OnnxModel, Outcome, RatioMetric, SampleId, SetMetric, Subset, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

PICTURE_TOLERANCE = 1e-3
"""The tolerated distance of 255 times an image's value from an integer: float32 arithmetic leaves less than 1e-4."""

MAX_DECIMALS = 9
"""The largest number of decimals of a metric in tables."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INT64 = range(-(2**63), 2**63)


class CheckedWorkload:
    """A workload with the same methods, whose answers are checked. Every mistake is a DataError of one line.

    Errors that the workload itself raises as a CodecbenchError pass unchanged.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.name = workload.name
        self._spec: TensorSpec | None = None
        self._ratios = {metric.outcome_name: isinstance(metric, RatioMetric) for metric in workload.metrics}
        self._forms: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {}

    @classmethod
    def make(cls, kind: type[Workload], data_dir: Path | None) -> CheckedWorkload:
        """Return a new workload of a class, checked."""
        with workload_call(kind, "__init__", "the constructor"):
            return cls(kind(data_dir))

    @property
    def input_spec(self) -> TensorSpec:
        """The spec of one model input."""
        if self._spec is None:
            with self.calling("input_spec"):
                spec: object = self.workload.input_spec
            if not isinstance(spec, TensorSpec):
                self.refuse("input_spec", f"input_spec is {shown(spec)}; return a TensorSpec")
            self._spec = spec
        return self._spec

    @property
    def training_s(self) -> float | None:
        """Seconds of the training of the model, or None."""
        with self.calling("training_s"):
            seconds: Any = self.workload.training_s
        if seconds is None:
            return None
        if not isinstance(seconds, numbers.Real) or not 0 <= float(seconds) < math.inf:
            self.refuse("training_s", f"training_s is {shown(seconds)}; return a number of seconds, or None")
        return float(seconds)

    def build_model(self) -> nn.Module | OnnxModel:
        """Return the trained model in evaluation mode, or the ONNX file that holds it."""
        from torch import nn

        with self.calling("build_model"):
            model: object = self.workload.build_model()
        if isinstance(model, OnnxModel):
            return model
        if not isinstance(model, nn.Module):
            self.refuse("build_model", f"build_model returned {shown(model)}; return a torch.nn.Module or an OnnxModel")
        training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
        if training:
            self.refuse("build_model", f"the model is in training mode ({training[0]}); return model.eval()")
        return model

    def weights_sha256(self) -> str:
        """Return the hex SHA-256 of the weights."""
        with self.calling("weights_sha256"):
            found: object = self.workload.weights_sha256()
        if not isinstance(found, str) or not _SHA256.fullmatch(found):
            self.refuse(
                "weights_sha256",
                f"weights_sha256 gave {shown(found)}; return 64 lower-case hexadecimal digits, as hexdigest() does",
            )
        return found

    def sample_ids(self, subset: Subset) -> tuple[SampleId, ...]:
        """Return the identifiers of a subset as Python's integers or texts, all different."""
        with self.calling("sample_ids"):
            values = tuple(self.workload.sample_ids(subset))
        return self._identifiers("sample_ids", f"sample_ids({subset!r})", values)

    def training_ids(self) -> tuple[SampleId, ...]:
        """Return the identifiers of all training samples of the complete dataset."""
        with self.calling("training_ids"):
            values = tuple(self.workload.training_ids())
        return self._identifiers("training_ids", "training_ids()", values)

    def fit_groups(self) -> tuple[int, ...] | None:
        """Return the number of the group of each `fit` sample, or None."""
        numbers: dict[object, int] = {}
        with self.calling("fit_groups"):
            found = self.workload.fit_groups()
            if found is None:
                return None
            groups = tuple(numbers.setdefault(group, len(numbers)) for group in found)
        expected = len(self.sample_ids("fit"))
        if len(groups) != expected:
            self.refuse("fit_groups", f"fit_groups() gave {len(groups)} groups for {expected} samples of 'fit'")
        return groups

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return the inputs at these positions, each held against `input_spec`."""
        import numpy as np

        with self.calling("inputs"):
            found: Any = self.workload.inputs(subset, positions)
            count = len(found)
        if count != len(positions):
            self.refuse("inputs", f"inputs({subset!r}, ...) gave {count} samples for {len(positions)} positions")
        with self.calling("inputs"):
            arrays = [np.asarray(sample) for sample in found]
        if _are_pictures(arrays, self.input_spec):
            return arrays
        for position, array in zip(positions, arrays, strict=True):
            reason = input_fault(array, self.input_spec)
            if reason is not None:
                self.refuse("inputs", f"inputs({subset!r}, ...) at position {position}: {reason}")
        return arrays

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return the targets at these positions."""
        with self.calling("targets"):
            found = list(self.workload.targets(subset, positions))
        if len(found) != len(positions):
            self.refuse("targets", f"targets({subset!r}, ...) gave {len(found)} targets for {len(positions)} positions")
        return found

    def scores(self, outputs: Sequence[tuple[NDArray[Any], ...]], targets: Sequence[Any]) -> list[dict[str, Outcome]]:
        """Return the outcomes of each sample by name."""
        score = self.workload.score
        with self.calling("score"):
            return [self._checked_score(score(*sample)) for sample in zip(outputs, targets, strict=True)]

    def metric_values(
        self, metric: SetMetric, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the values of a set metric for several sets of samples; nan where one is not finite."""
        import numpy as np

        step = f"values of {metric.name!r}"
        with workload_call(type(self.workload), "score", step, place=method_location(type(metric), "values")):
            with np.errstate(all="ignore"):
                found: Any = metric.values(outcomes, counts)
            array = np.asarray(found)
        if array.shape != (len(counts),) or array.dtype.kind not in "fiu":
            place = method_location(type(metric), "values")
            raise DataError(
                f"workload {self.name!r} ({place}): {step} gave {_form_shown(array)} for {len(counts)} sets; return an "
                f"array of {len(counts)} numbers"
            )
        values = array.astype(np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def _checked_score(self, found: Any) -> dict[str, Outcome]:
        names = list(self._ratios)
        if not isinstance(found, Mapping) and len(names) == 1:
            found = {names[0]: found}
        elif not isinstance(found, Mapping) or set(found) != set(names):
            answer = f"{{{', '.join(map(repr, found))}}}" if isinstance(found, Mapping) else shown(found)
            self.refuse("score", f"score gave {answer}; return a dict with {', '.join(map(repr, names))}")
        return {
            name: self._ratio_outcome(name, found[name]) if ratio else self._set_outcome(name, found[name])
            for name, ratio in self._ratios.items()
        }

    def _ratio_outcome(self, name: str, found: Any) -> tuple[float, float]:
        pair = [_plain(value) for value in found] if _is_sequence(found) else []
        if len(pair) != 2 or not all(isinstance(value, numbers.Real) for value in pair):
            self.refuse(
                "score",
                f"score gave {shown(found)}{self._of(name)}; return a numerator and a denominator, two numbers",
            )
        return float(pair[0]), float(pair[1])

    def _set_outcome(self, name: str, found: Any) -> tuple[NDArray[Any], ...]:
        import numpy as np

        if not isinstance(found, (tuple, list)) or not found or not all(isinstance(each, np.ndarray) for each in found):
            self.refuse("score", f"score gave {shown(found)}{self._of(name)}; return a tuple of numpy arrays")
        for number, array in enumerate(found):
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                self.refuse("score", f"score gave an array of {array.dtype}{self._of(name)}; give arrays of numbers")
            if array.ndim == 0 or 0 in array.shape[1:]:
                self.refuse(
                    "score", f"array {number}{self._of(name)} has the shape {array.shape}; give one axis or more, of "
                    "which only the first may be empty",
                )  # fmt: skip
        form = tuple((array.dtype.newbyteorder("=").str, array.shape[1:]) for array in found)
        first = self._forms.setdefault(name, form)
        if form != first:
            self.refuse(
                "score", f"score gave {_forms_shown(form)}{self._of(name)} for one sample and {_forms_shown(first)} "
                "for another; give as many arrays for each, of equal dtypes; only the first axis may differ in length",
            )  # fmt: skip
        return tuple(array.astype(array.dtype.newbyteorder("="), copy=True) for array in found)

    def _of(self, name: str) -> str:
        return f" for {name!r}" if len(self._ratios) > 1 else ""

    def calling(self, method: str, step: str = "") -> AbstractContextManager[None]:
        """Return `workload_call` for this workload."""
        return workload_call(type(self.workload), method, step)

    def refuse(self, method: str, mistake: str) -> NoReturn:
        """Raise DataError for a mistake in a method's answer."""
        place = method_location(type(self.workload), method)
        raise DataError(f"workload {self.name!r} ({place}): {mistake}")

    def _identifiers(self, method: str, source: str, values: Sequence[object]) -> tuple[SampleId, ...]:
        found: dict[SampleId, None] = {}
        for value in values:
            identifier = _identifier(value)
            if identifier is None:
                self.refuse(
                    method, f"{source} holds {shown(value)}, which is no identifier; return integers (int64) or texts"
                )
            if identifier in found:
                self.refuse(method, f"{source} holds {shown(value)} twice; identifiers must differ")
            if found and isinstance(identifier, str) != isinstance(next(iter(found)), str):
                self.refuse(method, f"{source} holds integers and texts; return one kind")
            found[identifier] = None
        return tuple(found)


@contextmanager
def workload_call(kind: type[Workload], method: str, step: str = "", *, place: str = "") -> Iterator[None]:
    """Raise errors of a workload's code within a with block as DataError, with the line where they were raised.

    `step` is the subject of the sentence, by default the method; `place` is where that stands, by default the method's.
    """
    try:
        yield
    except CodecbenchError:
        raise
    except (Exception, SystemExit) as error:
        place = raised_location(error) or place or method_location(kind, method)
        raise DataError(f"workload {kind.name!r} ({place}): {step or method} raised {one_line(error)}") from error


def workload_class_fault(kind: type[Workload]) -> str | None:
    """Return what is wrong with the class attributes of a workload, with file and line; None if nothing is."""

    def refused(attribute: str, text: str) -> str:
        return f"{class_location(kind)}: workload {kind.name!r}: {attribute} {text}"

    if kind.__abstractmethods__:
        return refused(", ".join(sorted(kind.__abstractmethods__)), "is not defined")
    splits = getattr(kind, "default_splits", None)
    budget: Any = getattr(kind, "budget", None)
    fault = _metrics_fault(getattr(kind, "metrics", None), old=kind.names_one_metric)
    if fault is not None:
        return refused("metric" if kind.names_one_metric else "metrics", fault)
    if not isinstance(splits, (tuple, list)) or not all(isinstance(split, str) for split in splits):
        return refused("default_splits", f'is {shown(splits)}; give a tuple of names like ("input",)')
    if not isinstance(budget, numbers.Real) or isinstance(budget, bool) or not 0 <= float(budget) < math.inf:
        return refused("budget", f"is {shown(budget)}; give a number of at least 0, in the unit of the first metric")
    if not isinstance(kind.dataset, str | None):
        return refused("dataset", f"is {shown(kind.dataset)}; give a name, or None")
    if not isinstance(kind.training_note, str):
        return refused("training_note", f"is {shown(kind.training_note)}; give a text")
    return None


def _metrics_fault(metrics: Any, *, old: bool) -> str | None:
    """Return what is wrong with the metrics of a workload, as the end of a sentence; None if nothing is."""
    example = 'metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)'
    if isinstance(metrics, Metric):
        return f"is one metric; set a tuple like {example}"
    if not isinstance(metrics, (tuple, list)) or not metrics:
        return f"is {shown(metrics)}; set a tuple like {example}"
    kinds: dict[str, bool] = {}
    for metric in metrics:
        if not isinstance(metric, RatioMetric | SetMetric):
            return f"{'is' if old else 'holds'} {shown(metric)}; set RatioMetrics or SetMetrics"
        fault = _metric_fault(metric)
        if fault is not None:
            return fault
        is_ratio = isinstance(metric, RatioMetric)
        if kinds.setdefault(metric.outcome_name, is_ratio) != is_ratio:
            return f"has {metric.outcome_name!r} as the outcome of a ratio metric and of a set metric; name two"
    names = [metric.name for metric in metrics]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"has the name {twice!r} twice; names must differ"


def _metric_fault(metric: RatioMetric | SetMetric) -> str | None:
    texts = [getattr(metric, name, None) for name in ("name", "unit", "outcome")]
    if not all(isinstance(text, str) for text in texts) or not metric.name:
        return "needs texts for name and unit"
    if isinstance(metric, RatioMetric) and not (isinstance(metric.scale, numbers.Real) and math.isfinite(metric.scale)):
        return f"has the scale {shown(metric.scale)}; give a number"
    decimals: object = metric.decimals
    if not isinstance(decimals, int) or not 0 <= decimals <= MAX_DECIMALS:
        return f"has the decimals {shown(decimals)}; give an integer from 0 to {MAX_DECIMALS}"
    return None


def input_fault(array: NDArray[Any], spec: TensorSpec) -> str | None:
    """Return why an input does not fit the spec of a model's inputs, or None if it fits."""
    import numpy as np

    reason = spec.mismatch(array.shape, str(array.dtype))
    if reason is not None:
        limit = f" with at most {spec.max_length}" if spec.max_length is not None else ""
        return f"{reason}{limit}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "values are not finite"
    if spec.image:
        levels = array * np.float32(255)
        near = np.rint(levels)
        if near.min(initial=0) < 0 or near.max(initial=0) > 255:
            found = f"{array.min():.3g} to {array.max():.3g}"
            return f"values run from {found}, those of an image from 0 to 1; normalise in the model"
        if (np.abs(levels - near) > PICTURE_TOLERANCE).any():
            return "values are no multiples of 1/255, as an image's are; leave image=True out of the spec, or round"
    return None


def _are_pictures(arrays: Sequence[NDArray[Any]], spec: TensorSpec) -> bool:
    """Return True if `input_fault` finds nothing in any of these images, which it looks at one by one."""
    import numpy as np

    if not spec.image or not arrays or any(spec.mismatch(array.shape, str(array.dtype)) for array in arrays):
        return False
    if len({array.shape for array in arrays}) > 1:
        return False
    levels = np.stack(arrays) * np.float32(255)
    near = np.rint(levels)
    if not (near.min(initial=0) >= 0 and near.max(initial=0) <= 255):
        return False
    np.abs(np.subtract(levels, near, out=levels), out=levels)
    return bool((levels <= PICTURE_TOLERANCE).all())


def _identifier(value: Any) -> SampleId | None:
    """Return an identifier as Python's integer or text; None for anything else."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return None
        return str(value)
    if isinstance(value, bool):
        return None
    try:
        found = operator.index(value)
    except TypeError:
        return None
    return found if found in _INT64 else None


def _plain(value: Any) -> Any:
    """Return Python's own number for a scalar of numpy or torch."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _is_sequence(value: object) -> bool:
    return isinstance(value, (tuple, list)) or (getattr(value, "ndim", None) == 1 and hasattr(value, "__len__"))


def _form_shown(array: NDArray[Any]) -> str:
    return f"an array of {array.dtype} of the shape {array.shape}"


def _forms_shown(forms: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """Return dtypes and shapes of arrays in a few words; n stands for the first axis."""
    import numpy as np

    shapes = (f"({', '.join(map(str, ('n', *shape)))}{'' if shape else ','})" for _, shape in forms)
    return " and ".join(f"{np.dtype(dtype)} {shape}" for (dtype, _), shape in zip(forms, shapes, strict=True))
