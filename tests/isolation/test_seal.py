"""A sealed process computes and imports, and reaches nothing else: by the kernel, and by the hook as well."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest
from support.paths import SUPPORT

from codecbench.isolation import seal
from codecbench.isolation.audit import GuardError
from codecbench.isolation.landlock import KernelCalls, kernel_abi
from codecbench.isolation.seal import Isolation, refusal_hint

REFUSALS = {"EPERM", "EACCES", "GuardError"}
PLAN = {
    "control": ["native", "libraries", "python"],
    "kernel": ["native", "libraries", "python", "honest"],
    "native": ["native", "libraries", "honest"],
    "abi1": ["native"],
    "audit": ["native", "libraries", "python", "honest"],
    "landlock": ["native"],
    "seccomp": ["native"],
    "writes": ["native", "python"],
}
"""Groups of attempts by the way in which the process is sealed; `control` is not sealed."""
READS = {
    "open a data file", "open a data file in a plugin's folder", "open a data file in a folder on the import path",
    "open a record", "openat", "open a process's status", "open its own status", "list a folder",
    "list a folder on the import path", "open()", "open() of a data file named like a module", "os.open()",
    "os.listdir()",
}  # fmt: skip
"""What a process may still do that only its writing is taken from."""
LANDLOCKS = {
    *READS,
    "creat",
    "write to a readable file",
    "O_TMPFILE",
    "mkfifo",
    "mknod",
    "shm_open",
    "sem_open",
    "kill",
}
"""Some of what Landlock refuses by itself."""

Outcomes = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    try:
        kernel_abi(KernelCalls())
    except OSError as error:
        pytest.skip(f"this kernel has no Landlock to be tested: {error}")
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "cache").mkdir()
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, SUPPORT / "seal_attempts.py", json.dumps(PLAN), folder],
        env={**os.environ, **single, "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: Outcomes = json.loads(done.stdout)
    if found["seccomp"]["socketpair"] not in REFUSALS:
        pytest.skip("this machine or container lets no process set a seccomp filter")
    return found


def let_through(outcomes: Outcomes, mode: str) -> set[str]:
    """The attempts that were not refused, of those that an unsealed process of this machine can make."""
    control = outcomes["control"]
    return {
        name
        for name, found in outcomes[mode].items()
        if name in control and control[name] not in REFUSALS and found not in REFUSALS
    }


def test_nearly_all_attempts_succeed_without_a_seal(outcomes):
    failed = {name: found for name, found in outcomes["control"].items() if found != "done"}
    assert len(failed) < 0.25 * len(outcomes["control"]), failed


@pytest.mark.parametrize("mode", ["kernel", "native", "abi1"])
def test_everything_is_refused(outcomes, mode):
    """`native` is the kernel's seal alone; `abi1` is that with the rights of the first Landlock."""
    assert let_through(outcomes, mode) == set()


def test_the_hook_alone_sees_pythons_functions_and_no_native_call(outcomes):
    python = outcomes["kernel"].keys() - outcomes["abi1"].keys() - outcomes["native"].keys()
    assert len(python) > 25
    assert {n: outcomes["audit"][n] for n in python if outcomes["audit"][n] not in REFUSALS} == {}
    assert {n: outcomes["audit"][n] for n in outcomes["abi1"] if outcomes["audit"][n] in REFUSALS} == {}


@pytest.mark.parametrize("mode", ["kernel", "native", "audit"])
def test_honest_codecs_do_not_notice(outcomes, mode):
    honest = outcomes[mode].keys() - outcomes["control"].keys()
    assert len(honest) > 25
    assert {name: outcomes[mode][name] for name in honest if outcomes[mode][name] != "done"} == {}


def test_landlock_alone_refuses_files(outcomes):
    assert let_through(outcomes, "landlock") & LANDLOCKS == set()


def test_seccomp_alone_refuses_all_but_reading(outcomes):
    assert let_through(outcomes, "seccomp") <= READS


def test_a_process_that_may_not_write_may_read(outcomes):
    assert let_through(outcomes, "writes") == READS
    assert {name: outcomes["writes"][name] for name in READS} == dict.fromkeys(READS, "done")


# --- one process ------------------------------------------------------------------------------------------------------

SECOND_THREAD = """
import threading
from codecbench.isolation.seal import close_process
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    close_process(None)
except RuntimeError as error:
    print(error)
"""

MISSING = """
import errno, sys
from codecbench.isolation import landlock, seal, seccomp

def refuse(self, number, *args):
    if number in (landlock.CREATE_RULESET, 317, 277):
        raise OSError(int(sys.argv[1]), "refused")
    return calls(self, number, *args)

def refuse_prctl(self, option, *args):
    if option == 22:
        raise OSError(int(sys.argv[2]), "refused")
    return prctl(self, option, *args)

calls, prctl = landlock.KernelCalls.__call__, landlock.KernelCalls.prctl
landlock.KernelCalls.__call__ = refuse
if len(sys.argv) > 2:
    landlock.KernelCalls.prctl = refuse_prctl
rules = seal.readable_files([])
assert rules is None
found = seal.close_process(rules)
print(found.label, found.detail, found.advice, sep="\\n")
"""


def run(script: str, *args: object) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_second_thread_is_an_error():
    (line,) = run(SECOND_THREAD)
    assert line == "the process to be sealed has 2 threads; seal it before it starts any but the first"


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are parts of Linux")
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSYS, "Linux 5.13 or later has it"),
        (errno.EOPNOTSUPP, "add landlock to lsm="),
        (errno.EPERM, "a container forbids Landlock"),
    ],
)
def test_a_kernel_without_landlock(code, advice):
    label, detail, text = run(MISSING, code)
    assert (label, detail) == ("partial", "no Landlock, seccomp, audit hook")
    assert advice in text


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are parts of Linux")
@pytest.mark.parametrize(
    ("code", "advice"), [(errno.EINVAL, "CONFIG_SECCOMP_FILTER"), (errno.EACCES, "a container forbids seccomp")]
)
def test_a_container_that_forbids_both(code, advice):
    label, detail, text = run(MISSING, errno.EPERM, code)
    assert (label, detail) == ("audit", "no Landlock, no seccomp, audit hook")
    assert "a container forbids Landlock" in text
    assert advice in text


def test_a_system_other_than_linux_gets_one_advice(monkeypatch):
    monkeypatch.setattr(seal.sys, "platform", "darwin")
    error = OSError(errno.ENOSYS, "")
    found = Isolation(None, False, True, seal._landlock_advice(error), seal._seccomp_advice(error))
    assert found.advice == "Landlock and seccomp are parts of Linux: run there for codecs to be sealed by the kernel"


def test_what_held_survives_json():
    found = Isolation(7, True)
    assert Isolation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert (found.label, found.detail, found.advice) == ("kernel", "Landlock 7, seccomp, audit hook", "")


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "hinted"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x.npz"), True),
        (OSError(errno.EPERM, "Operation not permitted"), True),
        (RuntimeError("unable to open file <x> in read-only mode: Permission denied (13)"), True),
        (chained(ImportError("no data"), PermissionError(errno.EACCES, "Permission denied")), True),
        (GuardError("open of 'x': a codec may reach nothing"), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError("wrong"), False),
    ],
)
def test_an_error_that_the_seal_caused_says_what_to_do(error, hinted):
    hint = refusal_hint(error)
    assert bool(hint) == hinted
    assert not hinted or hint.endswith("put what a side needs into export()")


def test_threads_are_counted_native_ones_too_where_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    before, done = seal.thread_count(), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert seal.thread_count() == before + 1
    monkeypatch.setattr(os, "listdir", lambda _: (_ for _ in ()).throw(OSError("no /proc here")))
    assert seal.thread_count() == threading.active_count()
    done.set()
    thread.join()
