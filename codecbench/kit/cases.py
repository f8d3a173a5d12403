"""The machinery of the conformance kit: cases, checks, outcomes, and the processes that the checks share.

`codecbench.kit.checks` has the checks themselves, `codecbench.testing` what a plugin author calls. Importing this
module does not import torch.
"""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.codec import Codec, CodecbenchError, Side, TensorSpec
from codecbench.kit.samples import DEFAULT_SPECS, fit_data, samples, spec_label
from codecbench.registry import reference
from codecbench.results.cell import point_label
from codecbench.workers.client import Worker, one_line
from codecbench.workers.guard import sealed

if TYPE_CHECKING:
    from torch import Tensor

DECODE_TOLERANCE = 1e-5
"""How far two decodes of one payload may differ, as a share of the greatest value: convolutions in a batch or alone,
here or on another machine, sum in another order. Integers, and whatever a lossless codec decodes, must be equal."""


Status: TypeAlias = Literal["passed", "failed", "skipped", "expected"]
"""`expected` is a failure that `expected_failed_checks` announced."""


class CheckFailed(AssertionError):
    """The codec breaks the contract. The text says how, and where to look."""


class CheckSkipped(Exception):
    """The check says nothing about this codec. The text says why."""


@dataclass(frozen=True)
class Outcome:
    """How one check of one subject ended. `reason` is empty where it passed; `error` is what the check raised."""

    subject: str
    check: str
    status: Status
    reason: str = ""
    error: Exception | None = None

    @property
    def id(self) -> str:
        """Subject and check as in a pytest id."""
        return f"{self.subject}-{self.check}"

    def line(self) -> str:
        """Status, id and reason as `codecbench check` prints them."""
        return f"{self.status:<8} {self.id}{f': {self.reason}' if self.reason else ''}"


_states: weakref.WeakKeyDictionary[type[Codec], dict[tuple[TensorSpec, str], dict[Side, bytes]]]
_states = weakref.WeakKeyDictionary()


class Case:
    """One codec at one spec and point, with its fitted states, samples and payloads, each made once when needed."""

    def __init__(self, kit: Kit, codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> None:
        self.kit = kit
        self.codec = codec
        self.spec = spec
        self.point = point

    @property
    def label(self) -> str:
        """`zlib[level=3]-(4, 8, 8)`."""
        point = point_label(self.point)
        return f"{self.codec.name}{f'[{point}]' if point else ''}-{spec_label(self.spec)}"

    def make(self) -> Codec:
        """A fresh instance, not restored."""
        return self.codec(self.spec, **self.point)

    def side(self, side: Side) -> Codec:
        """A fresh instance, restored from this side's state."""
        codec = self.make()
        codec.restore(side, self.states[side])
        return codec

    @cached_property
    def states(self) -> dict[Side, bytes]:
        """What each side holds before the first request; fitted on synthetic data where the point needs it.

        Fitted once a process, whatever number of kits take the case.
        """
        kept = _states.setdefault(self.codec, {})
        key = (self.spec, point_label(self.point))
        if key not in kept:
            kept[key] = self.fit()
        return kept[key]

    def fit(self, max_s: float = 5.0) -> dict[Side, bytes]:
        """Both sides' states after a fresh fit, or of a fresh instance where there is nothing to fit."""
        with _seeded():
            codec = self.make()
            if self.needs_fit:
                data = fit_data(self.spec, max_s=max_s)
                with sealed():
                    codec.fit(data)
            return {"device": codec.export("device"), "edge": codec.export("edge")}

    @property
    def needs_fit(self) -> bool:
        """Whether this point is fitted."""
        return self.codec.needs_fit(self.spec, **self.point)

    @property
    def samples(self) -> list[Tensor]:
        """Ordinary samples; new tensors each time, so that no check spoils another's."""
        return samples(self.spec)

    @cached_property
    def payloads(self) -> list[bytes]:
        """The samples' payloads, encoded one by one by one fresh instance."""
        device = self.side("device")
        return [device.encode(x) for x in self.samples]

    @cached_property
    def decoded(self) -> list[Tensor]:
        """What the payloads decode to, one by one, by one fresh instance. Copies: a codec may hold on to its own.

        `check_decode_gives_tensor` says whether they are tensors at all.
        """
        edge = self.side("edge")
        return [_copy(edge.decode(payload)) for payload in self.payloads]

    def close_enough(self, left: Tensor, right: Tensor) -> str | None:
        """Why two decodes of one payload are not the same, or None where they are, within DECODE_TOLERANCE."""
        import torch

        if left.shape != right.shape or left.dtype != right.dtype:
            return f"{left.dtype} {tuple(left.shape)} against {right.dtype} {tuple(right.shape)}"
        if torch.equal(left, right):
            return None
        gap = float((left.double() - right.double()).abs().max())
        scale = max(1.0, float(right.double().abs().max()))
        if "lossless" not in self.codec.tags and left.is_floating_point() and gap <= DECODE_TOLERANCE * scale:
            return None
        return f"values differ by up to {gap:.3g}"


Subject: TypeAlias = "type[Codec] | Case"
"""What a check looks at: a codec as a whole, or one case."""

Points: TypeAlias = Callable[[type[Codec], TensorSpec], Sequence[Mapping[str, Any]]]
"""Which points of a codec are checked at a spec."""


@dataclass(frozen=True)
class Check:
    """One demand on a codec. `needs` names the checks without which it would say nothing new."""

    name: str
    run: Callable[[Kit, Any], None]
    of_codec: bool
    needs: tuple[str, ...]
    applies: Callable[[Any], bool]

    @property
    def says(self) -> str:
        """What it holds a codec to, in a paragraph."""
        return " ".join((self.run.__doc__ or "").split())


CHECKS: dict[str, Check] = {}
"""Every check by name, in the order in which they run."""


def check_of(
    *, needs: tuple[str, ...] = (), of_codec: bool = False, applies: Callable[[Any], bool] = lambda _: True
) -> Callable[[Callable[[Kit, Any], None]], Callable[[Kit, Any], None]]:
    """Decorate a function as a check: of a case, or with `of_codec` of a codec. Its docstring is what it demands."""

    def add(run: Callable[[Kit, Any], None]) -> Callable[[Kit, Any], None]:
        CHECKS[run.__name__] = Check(run.__name__, run, of_codec, needs, applies)
        return run

    return add


def require(condition: object, text: str) -> None:
    """Raise CheckFailed with the text unless the condition holds."""
    if not condition:
        raise CheckFailed(text)


def quick_points(codec: type[Codec], spec: TensorSpec) -> Sequence[Mapping[str, Any]]:
    """The codec's own quick points for the spec."""
    return codec.quick_points_for(spec)


class Kit:
    """The cases of one or more codecs, the outcomes so far, and the processes that the checks share.

    `specs` defaults to DEFAULT_SPECS. `points` gives the points at which a codec is checked at a spec.
    """

    def __init__(
        self, codecs: Sequence[type[Codec]], specs: Sequence[TensorSpec] | None = None, points: Points = quick_points
    ) -> None:
        self.codecs = list(codecs)
        self.specs = tuple(specs or DEFAULT_SPECS)
        self._points = points
        self.cases: list[Case] = []
        self.skips: list[Outcome] = []
        for codec in self.codecs:
            self._plan(codec)
        self._outcomes: dict[tuple[int, str], Outcome] = {}
        self._elsewhere: dict[int, Elsewhere] | None = None
        self._edge: Worker | None = None

    def _plan(self, codec: type[Codec]) -> None:
        missing = codec.unavailable()
        if missing:
            self.skips.append(Outcome(codec.name, "all_checks", "skipped", missing))
            return
        for spec in self.specs:
            for point, reason in self._points_with_reasons(codec, spec):
                case = Case(self, codec, spec, point)
                if reason:
                    self.skips.append(Outcome(case.label, "all_checks", "skipped", reason))
                else:
                    self.cases.append(case)

    def _points_with_reasons(self, codec: type[Codec], spec: TensorSpec) -> list[tuple[Mapping[str, Any], str | None]]:
        """The points to check, each with the reason for which it is skipped."""
        try:
            return [(point, codec.skip_reason(spec, **point)) for point in self._points(codec, spec)]
        except Exception:  # check_points_constructible asks the same again, and reports it
            return []

    def subjects(self) -> Iterator[tuple[Check, Subject]]:
        """Every check with what it looks at, codec by codec."""
        for codec in self.codecs:
            if codec.unavailable():
                continue
            for check in CHECKS.values():
                if check.of_codec:
                    yield check, codec
            for case in self.cases:
                if case.codec is codec:
                    for check in CHECKS.values():
                        if not check.of_codec and check.applies(case):
                            yield check, case

    def outcome(self, check: Check, subject: Subject) -> Outcome:
        """How a check ends; it and what it builds on run at most once."""
        key = (id(subject), check.name)
        if key not in self._outcomes:
            self._outcomes[key] = self._run(check, subject)
        return self._outcomes[key]

    def _run(self, check: Check, subject: Subject) -> Outcome:
        label = subject_label(subject)
        for name in check.needs:
            needed = CHECKS[name]
            if needed.of_codec and isinstance(subject, Case):
                below = self.outcome(needed, subject.codec)
            elif needed.applies(subject):
                below = self.outcome(needed, subject)
            else:
                continue
            if below.status != "passed":
                # The root of a chain is named, not its last link.
                root = below.reason if below.status == "skipped" else f"needs {name}, which fails"
                return Outcome(label, check.name, "skipped", root)
        try:
            check.run(self, subject)
        except CheckSkipped as skip:
            return Outcome(label, check.name, "skipped", str(skip))
        except CheckFailed as failure:
            return Outcome(label, check.name, "failed", str(failure), failure)
        except Exception as error:
            return Outcome(label, check.name, "failed", f"the codec raised {one_line(error)}", error)
        return Outcome(label, check.name, "passed")

    def elsewhere(self, case: Case) -> Elsewhere:
        """What other processes made of a case; all cases go through them together, on the first question."""
        if self._elsewhere is None:
            self.edge()  # it starts up while the device process works
            ready = [c for c in self.cases if self._is_ready(c)]
            encoded = {id(c): encoded for c, encoded in _encode_elsewhere(ready)}
            self._elsewhere = self._decode_shuffled(ready, encoded)
        return self._elsewhere[id(case)]

    def _is_ready(self, case: Case) -> bool:
        needs = (CHECKS[name] for name in CHECKS["check_other_process"].needs)
        return all(self.outcome(check, case).status == "passed" for check in needs if check.applies(case))

    def _decode_shuffled(self, cases: Sequence[Case], encoded: Mapping[int, list[bytes] | str]) -> dict[int, Elsewhere]:
        """Decode every payload in an edge process, samples and cases in no order."""
        results = {id(case): Elsewhere(encoded[id(case)], {}) for case in cases}
        jobs = [(c, i) for c in cases if isinstance(encoded[id(c)], list) for i in range(len(encoded[id(c)]))]
        random.Random(0).shuffle(jobs)  # noqa: S311 - an order, not a secret
        handles: dict[int, int] = {}
        for case, index in jobs:
            result = results[id(case)]
            assert isinstance(result.payloads, list)
            edge = self.edge(handles.clear)
            try:
                if id(case) not in handles:
                    handles[id(case)] = open_side(edge, case, "edge")
                (values,) = edge.decode(handles[id(case)], [result.payloads[index]], batched=False)
                result.decoded[index] = to_tensor(values)
            except CodecbenchError as error:
                result.decoded[index] = str(error)
        return results

    def edge(self, on_new: Callable[[], object] = lambda: None) -> Worker:
        """The edge process that the checks share; a new one where the last has ended, after a call of `on_new`."""
        if self._edge is None or self._edge.closed:
            self._edge = Worker("edge")
            weakref.finalize(self, self._edge.close)
            on_new()
        return self._edge

    def close(self) -> None:
        """End the process that the checks share."""
        if self._edge is not None:
            self._edge.close()


@dataclass(frozen=True)
class Elsewhere:
    """A case in other processes: payloads, or why there are none; and by sample the tensor, or why there is none."""

    payloads: list[bytes] | str
    decoded: dict[int, Tensor | str]


def _encode_elsewhere(cases: Sequence[Case]) -> Iterator[tuple[Case, list[bytes] | str]]:
    """Encode every case's samples in a device process, which has ended when this is through."""
    device = Worker("device") if cases else None
    try:
        for case in cases:
            if device is None or device.closed:
                device = Worker("device")
            try:
                handle = open_side(device, case, "device")
                yield case, device.encode(handle, [x.numpy() for x in case.samples], batched=False)
            except CodecbenchError as error:
                yield case, str(error)
    finally:
        if device is not None:
            device.close()


def open_side(worker: Worker, case: Case, side: Side) -> int:
    """A handle to a fresh instance of the case in a worker."""
    return worker.open_codec(reference(case.codec), case.spec, case.point, side, case.states[side])


def subject_label(subject: Subject) -> str:
    """A codec's name, or a case's label."""
    return subject.label if isinstance(subject, Case) else subject.name


def _copy(decoded: Any) -> Any:
    """A copy of a tensor; anything else as it is."""
    import torch

    return decoded.detach().clone() if isinstance(decoded, torch.Tensor) else decoded


def to_tensor(values: Any) -> Tensor:
    """A new tensor of an array's values, whatever the array's byte order."""
    import torch

    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=True))


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The global generators at a fixed seed, as before a real fit, and put back afterwards."""
    import numpy as np
    import torch

    # A codec may draw from the global generators.
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
