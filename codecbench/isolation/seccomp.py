"""A seccomp filter (Linux on x86_64 and aarch64): a process keeps the system calls of computing, and no others.

It is an allow list. What is not named here fails with EPERM: sockets, System V and POSIX message queues, semaphores and
shared memory, keys, locks, new processes and programs, tracing, signals to others, priorities, changes of files beside
their content, io_uring, BPF, and calls that do not exist yet. Landlock decides which files may be opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import Final

from codecbench.isolation.bpf import ArgumentTest, Bits, NotBits, Null, OneOf, assemble
from codecbench.isolation.landlock import KernelCalls

_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column in the tables below and AUDIT_ARCH constant, by the machine's name."""

_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {
    # memory
    "brk": (12, 214), "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "msync": (26, 227),
    "munmap": (11, 215), "membarrier": (324, 283),
    # open descriptors
    "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "epoll_wait": (232, None), "eventfd": (284, None), "eventfd2": (290, 19),
    "lseek": (8, 62), "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73),
    "pread64": (17, 67), "preadv": (295, 69), "pselect6": (270, 72), "pwrite64": (18, 68), "pwritev": (296, 70),
    "read": (0, 63), "readv": (19, 65), "select": (23, None), "write": (1, 64), "writev": (20, 66),
    # facts about files and folders; listing needs a folder that Landlock let be opened
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "fstat": (5, 80), "getcwd": (79, 17),
    "getdents": (78, None), "getdents64": (217, 61), "lstat": (6, None), "newfstatat": (262, 79),
    "readlink": (89, None), "readlinkat": (267, 78), "stat": (4, None), "statx": (332, 291),
    # threads and their signals
    "arch_prctl": (158, None), "exit": (60, 93), "exit_group": (231, 94), "futex": (202, 98),
    "futex_wait": (455, 455), "futex_waitv": (449, 449), "futex_wake": (454, 454), "gettid": (186, 178),
    "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigpending": (127, 136),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137), "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "sched_yield": (24, 124), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "sigaltstack": (131, 132),
    # clocks, chance, and facts about the process and the machine
    "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "getcpu": (309, 168),
    "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172), "getppid": (110, 173),
    "getrandom": (318, 278), "getrlimit": (97, 163), "getrusage": (98, 165), "gettimeofday": (96, 169),
    "getuid": (102, 174), "nanosleep": (35, 101), "sysinfo": (99, 179), "time": (201, None), "times": (100, 153),
    "uname": (63, 160),
}  # fmt: skip
"""Calls that are allowed with any arguments: their numbers on x86_64 and on aarch64."""

_TESTED_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {
    "clone": (56, 220), "fcntl": (72, 25), "ioctl": (16, 29), "kill": (62, 129), "madvise": (28, 233),
    "open": (2, None), "openat": (257, 56), "prctl": (157, 167), "prlimit64": (302, 261), "tgkill": (234, 131),
    "tkill": (200, 130),
}  # fmt: skip
"""Calls whose arguments are tested."""

_MISSING_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls that fail as if the kernel did not have them: their arguments lie in memory, and libraries have another way."""

_CLONE_THREAD: Final = 0x10000
_CLONE_NEW_NAMESPACE: Final = 0x7E020080
_FCNTL_OPERATIONS: Final = (0, 1, 2, 3, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: neither locks nor flags that processes share."""
_IOCTL_REQUESTS: Final = (0x5401, 0x5413, 0x5450, 0x5451)
"""TCGETS and TIOCGWINSZ (is it a terminal, how wide), FIONCLEX, FIOCLEX."""
_MADVICE: Final = (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 25)
"""Not COLD and PAGEOUT, which change the page cache for all, nor MERGEABLE, REMOVE and those that damage pages."""
_PRCTL_OPTIONS: Final = (3, 15, 16, 39, 50, 51, 56, 63, 64, 0x53564D41)
"""Names of threads and of memory, vector lengths of aarch64, and questions."""
_O_ACCMODE: Final = 0o3
_O_TRUNC: Final = 0o1000
_O_CHANGES: Final = _O_ACCMODE | 0o100 | _O_TRUNC | 0o2000
"""Access mode, O_CREAT, O_TRUNC, O_APPEND."""

_SET_MODE_FILTER: Final = 1
_ALLOW_SPECULATION: Final = 4
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def close_calls(calls: KernelCalls, *, may_open_to_write: bool = True) -> None:
    """Leave this thread, and all that it starts, the system calls of computing, for good.

    Without `may_open_to_write` no file can be opened for writing or made, /dev/null included: for a process that no
    Landlock rules bind. Raises OSError if the machine or the kernel has no filters, or a container forbids them.
    """
    program = _program(may_open_to_write)
    structure = _Program(len(program) // 8, program)
    calls.forbid_new_privileges()
    try:
        # Without this flag, kernels before 5.16 slow a filtered process down.
        seccomp = {"x86_64": 317, "aarch64": 277}[platform.machine()]
        calls(seccomp, ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_ALLOW_SPECULATION), ctypes.byref(structure))
    except OSError:
        calls.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(structure))


def _program(may_open_to_write: bool) -> bytes:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOSYS, f"no filter is written for {sys.platform} on {machine}")
    column, architecture = _MACHINES[machine]

    def numbers(table: dict[str, tuple[int | None, int | None]]) -> dict[str, int]:
        found = {name: row[column] for name, row in table.items()}
        return {name: number for name, number in found.items() if number is not None}

    tests = _tests(os.getpid(), may_open_to_write)
    tested = {number: tests[name] for name, number in numbers(_TESTED_CALLS).items()}
    missing = dict.fromkeys(numbers(_MISSING_CALLS).values(), errno.ENOSYS)
    return assemble(architecture, numbers(_CALLS).values(), tested, missing, errno.EPERM)


def _tests(pid: int, may_open_to_write: bool) -> dict[str, list[ArgumentTest]]:
    """Return the tests of arguments by call, for the process `pid`."""

    def opening(flags: int) -> list[ArgumentTest]:
        # Opened for reading, O_TRUNC would empty a file: Landlock before ABI 3 lets it pass.
        return [NotBits(flags, _O_ACCMODE | _O_TRUNC, _O_TRUNC)] if may_open_to_write else [Bits(flags, _O_CHANGES, 0)]

    return {
        "clone": [Bits(0, _CLONE_THREAD | _CLONE_NEW_NAMESPACE, _CLONE_THREAD)],
        "fcntl": [OneOf(1, _FCNTL_OPERATIONS)],
        "ioctl": [OneOf(1, _IOCTL_REQUESTS)],
        "kill": [OneOf(0, [pid])],
        "madvise": [OneOf(2, _MADVICE)],
        "open": opening(1),
        "openat": opening(2),
        "prctl": [OneOf(0, _PRCTL_OPTIONS)],
        "prlimit64": [OneOf(0, [0, pid]), Null(2)],
        "tgkill": [OneOf(0, [pid])],
        "tkill": [OneOf(0, [pid])],
    }
