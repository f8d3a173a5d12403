"""Runs the conformance kit: cases, checks, outcomes, and the processes that the checks share.

`codecbench.kit.checks` has the checks, `codecbench.testing` the functions for plugin authors. Importing this
module does not import torch.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.errors import CodecbenchError, PluginError, one_line
from codecbench.kit.cases import KitCase, to_tensor
from codecbench.kit.samples import DEFAULT_SPECS
from codecbench.locations import class_location
from codecbench.registry import not_found_by_name, reference, source_of
from codecbench.system.helper_modules import with_helpers
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses

if TYPE_CHECKING:
    from torch import Tensor


Status: TypeAlias = Literal["passed", "failed", "skipped", "expected"]
"""`expected` is a failure that `expected_failed_checks` accepts."""


class CheckFailed(AssertionError):
    """The codec breaks the contract. The text says how and where."""


class CheckSkipped(Exception):
    """The check does not apply to this codec. The text says why."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check of a subject. `reason` is empty if it passed; `error` is the exception of the check."""

    subject: str
    check: str
    status: Status
    reason: str = ""
    error: Exception | None = None

    @property
    def id(self) -> str:
        """The subject and the check, as in a pytest id."""
        return f"{self.subject}-{self.check}"

    def line(self) -> str:
        """Return status, id and reason as `codecbench check` prints them."""
        return f"{self.status:<8} {self.id}{f': {self.reason}' if self.reason else ''}"


CheckSubject: TypeAlias = "type[Codec] | KitCase"
"""The subject of a check: a codec, or one case."""

Points: TypeAlias = Callable[[type[Codec], TensorSpec], Sequence[Mapping[str, Any]]]
"""Returns the points of a codec to check at a spec."""


@dataclass(frozen=True)
class Check:
    """One requirement of the contract. `needs` names the checks that must pass before it is run."""

    name: str
    run: Callable[[Kit, Any], None]
    of_codec: bool
    needs: tuple[str, ...]
    applies: Callable[[Any], bool]

    @property
    def says(self) -> str:
        """The requirement, in a paragraph."""
        return " ".join((self.run.__doc__ or "").split())


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order of execution."""


def check_of(
    *, needs: tuple[str, ...] = (), of_codec: bool = False, applies: Callable[[Any], bool] = lambda _: True
) -> Callable[[Callable[[Kit, Any], None]], Callable[[Kit, Any], None]]:
    """Return a decorator that registers a function as a check of a case, or with `of_codec` of a codec."""

    def add(run: Callable[[Kit, Any], None]) -> Callable[[Kit, Any], None]:
        CHECKS[run.__name__] = Check(run.__name__, run, of_codec, needs, applies)
        return run

    return add


def require(condition: object, text: str) -> None:
    """Raise CheckFailed with the text unless the condition is true."""
    if not condition:
        raise CheckFailed(text)


def quick_points(codec: type[Codec], spec: TensorSpec) -> Sequence[Mapping[str, Any]]:
    """Return the codec's quick points for the spec."""
    return codec.quick_points_for(spec)


class Kit:
    """The cases of one or more codecs, the outcomes so far, and the processes that the checks share.

    `specs` defaults to DEFAULT_SPECS. `points` maps a codec and a spec to the points to check.
    """

    def __init__(
        self, codecs: Sequence[type[Codec]], specs: Sequence[TensorSpec] | None = None, points: Points = quick_points
    ) -> None:
        self.codecs = list(codecs)
        self.specs = tuple(specs or DEFAULT_SPECS)
        self._points = points
        self.cases: list[KitCase] = []
        self.skips: list[Outcome] = []
        for codec in self.codecs:
            self._plan(codec)
        self._outcomes: dict[tuple[int, str], Outcome] = {}
        self._other_process_results: dict[int, OtherProcessResult] | None = None
        self._processes: CodecProcesses | None = None

    def _plan(self, codec: type[Codec]) -> None:
        missing = codec.unavailable()
        if missing:
            self.skips.append(Outcome(codec.name, "all_checks", "skipped", missing))
            return
        for spec in self.specs:
            for point, reason in self._points_with_reasons(codec, spec):
                case = KitCase(codec, spec, point)
                if reason:
                    self.skips.append(Outcome(case.label, "all_checks", "skipped", reason))
                else:
                    self.cases.append(case)

    def _points_with_reasons(self, codec: type[Codec], spec: TensorSpec) -> list[tuple[Mapping[str, Any], str | None]]:
        """Return the points to check, each with its skip reason or None."""
        try:
            return [(point, codec.skip_reason(spec, **point)) for point in self._points(codec, spec)]
        except Exception:  # check_points_constructible makes the same calls and reports the error
            return []

    def subjects(self) -> Iterator[tuple[Check, CheckSubject]]:
        """Yield every check with its subject, codec by codec."""
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

    def outcome(self, check: Check, subject: CheckSubject) -> Outcome:
        """Return the outcome of a check. It and the checks that it needs run at most once."""
        key = (id(subject), check.name)
        if key not in self._outcomes:
            self._outcomes[key] = self._run(check, subject)
        return self._outcomes[key]

    def _run(self, check: Check, subject: CheckSubject) -> Outcome:
        label = subject_label(subject)
        for name in check.needs:
            needed = CHECKS[name]
            if needed.of_codec and isinstance(subject, KitCase):
                prerequisite = self.outcome(needed, subject.codec)
            elif needed.applies(subject):
                prerequisite = self.outcome(needed, subject)
            else:
                continue
            if prerequisite.status != "passed":
                # In a chain of checks, the first one that failed is named.
                root = prerequisite.reason if prerequisite.status == "skipped" else f"needs {name}, which fails"
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

    def in_other_processes(self, case: KitCase) -> OtherProcessResult:
        """Return the result of a case in other processes. The first call runs all cases together."""
        if self._other_process_results is None:
            ready = [c for c in self.cases if self._is_ready(c)]
            # All encoder processes have ended before the first decoder process starts.
            encoded = {id(c): self._encoded(c) for c in ready}
            self._other_process_results = {id(c): self._decoded(c, encoded[id(c)]) for c in ready}
        return self._other_process_results[id(case)]

    def _is_ready(self, case: KitCase) -> bool:
        needs = (CHECKS[name] for name in CHECKS["check_other_process"].needs)
        return all(self.outcome(check, case).status == "passed" for check in needs if check.applies(case))

    def _encoded(self, case: KitCase) -> list[bytes] | CodecbenchError:
        """Return the samples' payloads, encoded one by one in a process of their own, or an error."""
        try:
            with self.opened(case, "device") as encoder:
                return encoder.encode_samples([x.numpy() for x in case.samples], batched=False)
        except CodecbenchError as error:
            return error

    def _decoded(self, case: KitCase, payloads: list[bytes] | CodecbenchError) -> OtherProcessResult:
        """Return the payloads' tensors, decoded one by one in shuffled order in a process of their own."""
        result = OtherProcessResult(payloads, {})
        if isinstance(payloads, CodecbenchError):
            return result
        order = random.Random(0).sample(range(len(payloads)), len(payloads))  # noqa: S311 - an order, not a secret
        decoder: CodecClient | None = None
        try:
            for index in order:
                try:
                    if decoder is None or decoder.closed:
                        decoder = self.opened(case, "edge")
                    (values,) = decoder.decode_payloads([payloads[index]], batched=False)
                    result.decoded[index] = to_tensor(values)
                except CodecbenchError as error:
                    result.decoded[index] = error
        finally:
            if decoder is not None:
                decoder.close()
        return result

    def opened(self, case: KitCase, side: Side) -> CodecClient:
        """Return a new process with an instance of the case, restored for one side. The caller closes it.

        Raises PluginError for a class that another process cannot find.
        """
        reason = not_found_by_name(case.codec)
        if reason is not None:
            raise PluginError(f"{class_location(case.codec)}: {reason}")
        if self._processes is None:
            self._processes = CodecProcesses(with_helpers([source_of(codec) for codec in self.codecs]))
            weakref.finalize(self, self._processes.close)
        client = CodecClient(self._processes.start())
        try:
            client.open(reference(case.codec), case.spec, case.point, side, case.states[side])
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        """End the processes that the checks share."""
        if self._processes is not None:
            self._processes.close()


@dataclass(frozen=True)
class OtherProcessResult:
    """A case's result in other processes: the payloads and, by sample, the decoded tensors; or errors."""

    payloads: list[bytes] | CodecbenchError
    decoded: dict[int, Tensor | CodecbenchError]


def subject_label(subject: CheckSubject) -> str:
    """Return a codec's name, or a case's label."""
    return subject.label if isinstance(subject, KitCase) else subject.name
