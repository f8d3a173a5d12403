"""Seals the process of a codec, for good: by the kernel where it can, and by the audit hook.

The process that forks codec processes calls `readable_files` once; each of these calls `close_process`.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from codecbench.isolation import descriptors, module_files
from codecbench.isolation.audit import GuardError, prepare, seal_for_good
from codecbench.isolation.landlock import KernelCalls, Ruleset, kernel_abi
from codecbench.isolation.seccomp import close_calls

Label = Literal["kernel", "partial", "audit"]

_NOT_LINUX: Final = "Landlock and seccomp are parts of Linux: run there for codecs to be sealed by the kernel"
_REFUSAL_TEXTS: Final = tuple(os.strerror(code) for code in (errno.EACCES, errno.EPERM))


@dataclass(frozen=True)
class Isolation:
    """The parts of the seal that hold in a process."""

    landlock_abi: int | None
    """The version of Landlock, or None if it does not hold."""
    seccomp: bool
    audit_hook: bool = True
    landlock_advice: str = ""
    """If Landlock does not hold: why, and what to do."""
    seccomp_advice: str = ""

    @property
    def label(self) -> Label:
        """Return "kernel" if the kernel refuses native calls as well, "partial" if only some of them, else "audit".

        Any version of Landlock will do: the filter refuses what later versions added (TCP, abstract sockets, signals,
        links and renames, truncation, device requests).
        """
        held = (self.landlock_abi is not None) + self.seccomp
        return ("audit", "partial", "kernel")[held]

    @property
    def detail(self) -> str:
        """Return the parts in one line, and those that are missing."""
        landlock = "no Landlock" if self.landlock_abi is None else f"Landlock {self.landlock_abi}"
        return ", ".join([landlock, "seccomp" if self.seccomp else "no seccomp", *["audit hook"] * self.audit_hook])

    @property
    def advice(self) -> str:
        """Return one line for the user on what is missing and how to have it, or "" if nothing is."""
        return "; ".join(dict.fromkeys(text for text in (self.landlock_advice, self.seccomp_advice) if text))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Isolation:
        """Return what `to_json` was called on."""
        return cls(**fields)


def readable_files(plugins: Sequence[Path]) -> Ruleset | None:
    """Return rules that let a process read modules and no data, or None if the kernel has no Landlock.

    `plugins` are plugin files, and plugin packages that are not installed. The import path is taken as it is now. A
    module that is written or replaced later cannot be read. Processes that are forked from this one share the rules.
    """
    prepare()  # here, so that the processes to be forked need not
    rules = _new_rules(KernelCalls())
    if rules is not None:
        module_files.allow_system(rules)
        module_files.allow_modules(rules, plugins)
    return rules


def close_process(rules: Ruleset | None, *, output: int | None = None) -> Isolation:
    """Seal this process for good and return what holds.

    It then reads modules, computes, starts threads, and uses the descriptors that it has. What is printed goes to the
    descriptor `output`, a pipe or file of this process's own; without one, what would go to a file is dropped
    (`detach_streams`). Raises RuntimeError if the process has a second thread, which the kernel would leave unsealed.
    """
    _check_one_thread()
    calls = KernelCalls()
    descriptors.detach_streams(output)
    return _close(calls, rules, reads_free=False)


def close_writes() -> Isolation:
    """Seal this process for good against all but reading: no files written, no sockets, no processes; what holds.

    Plugins may read their own data files while they are asked what they register. Raises RuntimeError if the process
    has a second thread.
    """
    _check_one_thread()
    calls = KernelCalls()
    rules = _new_rules(calls, reads_free=True)
    if rules is not None:
        module_files.allow_devices(rules)
    return _close(calls, rules, reads_free=True)


def _new_rules(calls: KernelCalls, *, reads_free: bool = False) -> Ruleset | None:
    try:
        return Ruleset(calls, reads_free=reads_free)
    except OSError:
        return None


def refusal_hint(error: BaseException) -> str:
    """Return a text to append to the error if the kernel's seal may have caused it, or ""."""
    chain = list(_chain(error))
    if any(isinstance(link, GuardError) for link in chain):  # its text says so already
        return ""
    for link in chain:
        refused = isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EPERM)
        if refused or any(text in str(link) for text in _REFUSAL_TEXTS):
            return (
                "; the seal refused it: a codec may reach nothing but its arguments and its restored state; "
                "put what a side needs into export()"
            )
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def thread_count() -> int:
    """Return the number of threads of this process, native ones included where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - no Path: it is asked before every fork
    except OSError:
        return threading.active_count()


def _check_one_thread() -> None:
    count = thread_count()
    if count != 1:
        raise RuntimeError(f"the process to be sealed has {count} threads; seal it before it starts any but the first")


def _close(calls: KernelCalls, rules: Ruleset | None, *, reads_free: bool) -> Isolation:
    prepare()
    abi, landlock_advice = _restrict(calls, rules)
    try:
        close_calls(calls, may_open_to_write=abi is not None)
        seccomp_advice = ""
    except OSError as error:
        seccomp_advice = _seccomp_advice(error)
    seal_for_good(reads_free=reads_free)
    return Isolation(abi, not seccomp_advice, True, landlock_advice, seccomp_advice)


def _restrict(calls: KernelCalls, rules: Ruleset | None) -> tuple[int | None, str]:
    try:
        if rules is None:
            kernel_abi(calls)
            return None, "no Landlock rules were made for this process"
        rules.restrict()
        return rules.abi, ""
    except OSError as error:
        return None, _landlock_advice(error)


def _landlock_advice(error: OSError) -> str:
    if sys.platform != "linux":
        return _NOT_LINUX
    match error.errno:
        case errno.ENOSYS:
            return "this kernel has no Landlock (or the container hides it): Linux 5.13 or later has it"
        case errno.EOPNOTSUPP:
            return "Landlock is switched off in this kernel: add landlock to lsm= on its command line"
        case errno.EPERM | errno.EACCES:
            return "a container forbids Landlock: take a newer Docker, or a seccomp profile that allows landlock_*"
        case _:
            return f"Landlock failed: {error.strerror}"


def _seccomp_advice(error: OSError) -> str:
    if sys.platform != "linux":
        return _NOT_LINUX
    match error.errno:
        case errno.ENOSYS:
            return f"no seccomp filter: {error.strerror}"
        case errno.EINVAL:
            return "this kernel has no seccomp filters: it needs CONFIG_SECCOMP_FILTER"
        case errno.EPERM | errno.EACCES:
            return "a container forbids seccomp: start it with a profile that allows prctl(PR_SET_SECCOMP)"
        case _:
            return f"no seccomp filter: {error.strerror}"
