"""The filter's program, run by an interpreter of BPF, on both machines that it is written for."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from codecbench.isolation import seccomp

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711
ALLOWED = "allowed"
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
REFUSED = {
    "vfork": (58, None), "fork": (57, None), "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    "socketpair": (53, 199), "sendmsg": (46, 211), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180), "flock": (73, 32), "memfd_create": (319, 279), "mincore": (27, 232), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "pidfd_open": (434, 434), "io_uring_setup": (425, 425), "mount": (165, 40),
    "landlock_add_rule": (445, 445), "seccomp": (317, 277), "chmod": (90, None), "fchmodat": (268, 53),
    "setpriority": (141, 140), "sched_setaffinity": (203, 122), "setrlimit": (160, 164), "preadv2": (327, 286),
    "fadvise64": (221, 223), "cachestat": (451, 451), "inotify_init1": (294, 26), "keyctl": (250, 219),
    "personality": (135, 92), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "not yet a call": (600, 600),
}  # fmt: skip


def run(program: bytes, machine: int, number: int, *args: int) -> str:
    """Interpret the filter's program for one call."""
    padded = [*args, *([0] * (6 - len(args)))]
    data = struct.pack("=IIQ6Q", number, machine, 0, *(value % 2**64 for value in padded))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, constant = code[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x15:
                position += if_true if accumulator == constant else if_false
            case 0x54:
                accumulator &= constant
            case 0x06:
                kind, code_number = constant & 0xFFFF0000, constant & 0xFFFF
                return ALLOWED if kind == 0x7FFF0000 else errno.errorcode[code_number]


@pytest.fixture(params=ARCHITECTURES)
def call(request, monkeypatch):
    """Return a function that gives the filter's answer to a call by name."""
    machine = request.param
    monkeypatch.setattr(seccomp.platform, "machine", lambda: machine)
    monkeypatch.setattr(seccomp.os, "getpid", lambda: PID)
    tables = {**seccomp._CALLS, **seccomp._TESTED_CALLS, **seccomp._MISSING_CALLS, **REFUSED}
    column = list(ARCHITECTURES).index(machine)

    def answer(name: str, *args: int, may_open_to_write: bool = True) -> str:
        number = tables[name][column]
        if number is None:
            return "no such call"
        return run(seccomp._program(may_open_to_write), ARCHITECTURES[machine], number, *args)

    return answer


def test_allowed_with_any_arguments(call):
    assert {name: call(name) for name in seccomp._CALLS if call(name) not in (ALLOWED, "no such call")} == {}
    assert call("read", 3, 2**64 - 1, 2**63) == ALLOWED


def test_not_on_the_list(call):
    assert {name: call(name) for name in REFUSED if call(name) not in ("EPERM", "no such call")} == {}


@pytest.mark.parametrize("name", ["clone3", "openat2"])
def test_calls_that_libraries_replace(call, name):
    assert call(name) == "ENOSYS"


def test_only_threads_are_cloned(call):
    assert call("clone", 0x3D0F00) == ALLOWED  # the flags of pthread_create
    for flags in (17, 0x4111, 0x10000 | 0x10000000, 0):  # fork, vfork, a thread with a user namespace
        assert call("clone", flags) == "EPERM"


def test_signals_to_itself_only(call):
    for name in ("kill", "tgkill", "tkill"):
        assert call(name, PID, 6) == ALLOWED
        assert call(name, PID + 1, 6) == call(name, 0) == call(name, -1) == call(name, -PID) == "EPERM"


def test_limits_are_read_only(call):
    assert call("prlimit64", 0, 7, 0, 4096) == call("prlimit64", PID, 7, 0, 4096) == ALLOWED
    for new_limit in (4096, 1 << 32):
        assert call("prlimit64", 0, 7, new_limit, 0) == "EPERM"
    assert call("prlimit64", PID + 1, 7, 0, 4096) == "EPERM"


def test_descriptors_keep_their_flags_and_have_no_locks(call):
    assert call("fcntl", 1, 3) == call("fcntl", 1, 1030) == ALLOWED  # F_GETFL, F_DUPFD_CLOEXEC
    for operation in (4, 5, 6, 7, 8, 10, 36, 37, 38, 1024, 1026, 1031, 1033):
        assert call("fcntl", 1, operation) == "EPERM"
    assert call("ioctl", 1, 0x5401) == ALLOWED
    assert call("ioctl", 1, 0x541B) == call("ioctl", 1, 0x5412) == call("ioctl", 1, 0x5421) == "EPERM"


def test_files_are_emptied_only_by_those_that_may_write(call):
    for name, before in (("openat", (0, 0)), ("open", (0,))):
        assert call(name, *before, 0o0) in (ALLOWED, "no such call")
        assert call(name, *before, 0o1101) in (ALLOWED, "no such call")  # O_WRONLY | O_CREAT | O_TRUNC
        assert call(name, *before, 0o1000) in ("EPERM", "no such call")  # O_RDONLY | O_TRUNC


def test_without_landlock_nothing_is_opened_to_write(call):
    assert call("openat", 0, 0, 0o2000000, may_open_to_write=False) == ALLOWED  # O_CLOEXEC
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o2000):
        assert call("openat", 0, 0, flags, may_open_to_write=False) == "EPERM"


def test_advice_on_memory_stays_within_the_process(call):
    assert call("madvise", 0, 0, 4) == call("madvise", 0, 0, 14) == ALLOWED
    assert call("madvise", 0, 0, 20) == call("madvise", 0, 0, 21) == call("madvise", 0, 0, 12) == "EPERM"


def test_numbers_of_another_machine_are_refused(monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "x86_64")
    program = seccomp._program(True)
    assert run(program, 0x40000003, 3) == "EPERM"  # read, by its number on i386
    assert run(program, ARCHITECTURES["x86_64"], 0x40000000) == "EPERM"  # read, by its number on x32
    assert run(program, ARCHITECTURES["x86_64"], 0) == ALLOWED


def test_a_machine_without_a_filter_is_an_error(monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no filter is written for linux on riscv64") as caught:
        seccomp._program(True)
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"the kernel's headers are not installed: no {HEADERS[machine]}")
    text = HEADERS[machine].read_text()
    official = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}
    column = list(ARCHITECTURES).index(machine)
    tables = {**seccomp._CALLS, **seccomp._TESTED_CALLS, **seccomp._MISSING_CALLS}
    known = {name: row[column] for name, row in tables.items() if name in official}
    renamed = {"newfstatat", "fstat"} if machine == "aarch64" else set()
    assert len(known) > 80
    assert {n: (v, official[n]) for n, v in known.items() if v != official[n] and n not in renamed} == {}
