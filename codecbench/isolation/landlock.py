"""Landlock (Linux 5.13 and later): a process gives up all files and folders but those that rules name, for good.

Source: the kernel's Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final

CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
"""System calls. They have these numbers on every machine."""

WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15

_FIRST_RIGHTS: Final = (1 << 13) - 1
"""The rights of ABI 1: execute, write, read, list, remove, and make files of seven kinds."""
_READING: Final = 1 << 0 | READ_FILE | READ_DIR
_LATER_RIGHTS: Final = {2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV}
"""Rights by the ABI that brought them: link and rename between folders, truncate, ioctl on devices."""
_FILE_RIGHTS: Final = 1 << 0 | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that a rule for something other than a folder may have."""
_TCP_RIGHTS: Final = 0b11
"""Bind and connect, from ABI 4 on."""
_SCOPES: Final = 0b11
"""Abstract UNIX sockets and signals stay within the sealed process, from ABI 6 on."""
_NEWEST_ABI: Final = 7
_NO_LOG: Final = 1
"""From ABI 7 on the kernel's audit log tells of refusals, unless this flag is set."""

_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("fd", ctypes.c_int32))


class KernelCalls:
    """System calls by number. Loads the C library, so it must be made before the process is sealed."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._syscall = library.syscall
        self._syscall.restype = ctypes.c_long
        self._prctl = library.prctl

    def __call__(self, number: int, *args: object) -> int:
        """Return the result of a system call. Raises OSError."""
        return self._checked(self._syscall(ctypes.c_long(number), *args))

    def prctl(self, option: int, first: int = 0, second: object = None) -> None:
        """Change a property of this process. Raises OSError."""
        zero = ctypes.c_ulong(0)
        self._checked(self._prctl(ctypes.c_int(option), ctypes.c_ulong(first), second or zero, zero, zero))

    def forbid_new_privileges(self) -> None:
        """Set no_new_privs, which the kernel wants before a process without privileges may restrict itself."""
        self.prctl(_PR_SET_NO_NEW_PRIVS, 1)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


def kernel_abi(calls: KernelCalls) -> int:
    """Return the version of Landlock that this kernel has. Raises OSError if it has none, or a container forbids it."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "Landlock is a part of Linux")
    return calls(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))


class Ruleset:
    """The rules of one or more processes to be sealed; processes that are forked from this one share it.

    Everything is refused that this ABI knows and no rule allows. With `reads_free`, reading, listing and executing need
    no rule. Raises OSError if the kernel has no Landlock.
    """

    def __init__(self, calls: KernelCalls, *, abi: int | None = None, reads_free: bool = False) -> None:
        self._calls = calls
        self.abi = min(abi or kernel_abi(calls), _NEWEST_ABI)
        self.rights = _FIRST_RIGHTS
        for since, right in _LATER_RIGHTS.items():
            self.rights |= right if self.abi >= since else 0
        if reads_free:
            self.rights &= ~_READING
        attributes = _RulesetAttributes(self.rights, _TCP_RIGHTS, _SCOPES)
        size = 8 if self.abi < 4 else 16 if self.abi < 6 else 24
        self.fd = calls(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
        self._rule = _PathBeneath()
        self._arguments = (
            ctypes.c_int(self.fd), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(self._rule), ctypes.c_uint32(0)
        )  # fmt: skip

    def allow(self, path: str, rights: int) -> bool:
        """Allow rights on a file, or on a folder and all below it; return False if the path cannot be opened."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            self._rule.rights = rights & self.rights
            self._rule.fd = fd
            if self._rule.rights:
                self._calls(ADD_RULE, *self._arguments)
        finally:
            os.close(fd)
        return True

    def restrict(self) -> None:
        """Restrict this thread and all that it starts, for good. The rules are closed here, not in other processes."""
        self._calls.forbid_new_privileges()
        flags = _NO_LOG if self.abi >= 7 else 0
        self._calls(RESTRICT_SELF, ctypes.c_int(self.fd), ctypes.c_uint32(flags))
        self.close()

    def close(self) -> None:
        """Close the rules' descriptor in this process."""
        os.close(self.fd)
