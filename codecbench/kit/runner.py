"""The machinery of the conformance kit: cases, checks, outcomes, and the processes that the checks share.

`codecbench.kit.checks` has the checks themselves, `codecbench.testing` what a plugin author calls. Importing this
module does not import torch.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.errors import CodecbenchError, one_line
from codecbench.kit.cases import Case, to_tensor
from codecbench.kit.samples import DEFAULT_SPECS
from codecbench.registry import reference
from codecbench.workers.client import CodecClient, DeviceClient, EdgeClient

if TYPE_CHECKING:
    from torch import Tensor


Status: TypeAlias = Literal["passed", "failed", "skipped", "expected"]
"""`expected` is a failure that `expected_failed_checks` announced."""


class CheckFailed(AssertionError):
    """The codec breaks the contract. The text says how, and where to look."""


class CheckSkipped(Exception):
    """The check says nothing about this codec. The text says why."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check of one subject. `reason` is empty where it passed; `error` is what the check raised."""

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
        """The demand on a codec, in a paragraph."""
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
        self._edge: EdgeClient | None = None

    def _plan(self, codec: type[Codec]) -> None:
        missing = codec.unavailable()
        if missing:
            self.skips.append(Outcome(codec.name, "all_checks", "skipped", missing))
            return
        for spec in self.specs:
            for point, reason in self._points_with_reasons(codec, spec):
                case = Case(codec, spec, point)
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
        """The outcome of a check; it and the checks that it needs run at most once."""
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
        """The results of a case in other processes; all cases go through them together, at the first use."""
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
                (values,) = edge.decode_payloads(handles[id(case)], [result.payloads[index]], batched=False)
                result.decoded[index] = to_tensor(values)
            except CodecbenchError as error:
                result.decoded[index] = str(error)
        return results

    def edge(self, on_new: Callable[[], object] = lambda: None) -> EdgeClient:
        """The edge process that the checks share; a new one where the last has ended, after a call of `on_new`."""
        if self._edge is None or self._edge.closed:
            self._edge = EdgeClient()
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
    device = DeviceClient() if cases else None
    try:
        for case in cases:
            if device is None or device.closed:
                device = DeviceClient()
            try:
                handle = open_side(device, case, "device")
                yield case, device.encode_samples(handle, [x.numpy() for x in case.samples], batched=False)
            except CodecbenchError as error:
                yield case, str(error)
    finally:
        if device is not None:
            device.close()


def open_side(client: CodecClient, case: Case, side: Side) -> int:
    """A handle to a fresh instance of the case in a worker."""
    return client.open_codec(reference(case.codec), case.spec, case.point, side, case.states[side])


def subject_label(subject: Subject) -> str:
    """A codec's name, or a case's label."""
    return subject.label if isinstance(subject, Case) else subject.name
