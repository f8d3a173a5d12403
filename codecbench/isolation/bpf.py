"""A filter of system calls, written as tests on their numbers and arguments and translated to the kernel's BPF.

Source: the kernel's Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/filter.h and seccomp.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_AND: Final = 0x54
_RETURN: Final = 0x06

_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
"""The result of a refused call; its lower half is the error that the caller sees."""

_NUMBER_OFFSET: Final = 0
_MACHINE_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
"""Offsets in the kernel's struct seccomp_data. An argument has 8 bytes, its lower half first."""

Code = list[tuple[int, int, int, int]]
"""Instructions: operation, jump if true, jump if false, constant."""


class ArgumentTest(Protocol):
    """A condition on the arguments of a call. Its code runs on to the next if it holds, and else returns `refuse`."""

    def code(self, refuse: Code) -> Code:
        """Return the instructions. `refuse` is one instruction."""
        ...


@dataclass(frozen=True)
class OneOf:
    """The lower half of an argument is one of these values."""

    argument: int
    values: Sequence[int]

    def code(self, refuse: Code) -> Code:
        """Return the instructions."""
        count = len(self.values)
        compare = [(_JUMP_IF_EQUAL, count - i, 0, value & 0xFFFFFFFF) for i, value in enumerate(self.values)]
        return [_load_argument(self.argument), *compare, *refuse]


@dataclass(frozen=True)
class Bits:
    """The bits of an argument's lower half that `mask` selects are those of `value`."""

    argument: int
    mask: int
    value: int

    def code(self, refuse: Code) -> Code:
        """Return the instructions."""
        return [
            _load_argument(self.argument), (_AND, 0, 0, self.mask), (_JUMP_IF_EQUAL, 1, 0, self.value), *refuse
        ]  # fmt: skip


@dataclass(frozen=True)
class NotBits:
    """The bits of an argument's lower half that `mask` selects are not those of `value`."""

    argument: int
    mask: int
    value: int

    def code(self, refuse: Code) -> Code:
        """Return the instructions."""
        return [
            _load_argument(self.argument), (_AND, 0, 0, self.mask), (_JUMP_IF_EQUAL, 0, 1, self.value), *refuse
        ]  # fmt: skip


@dataclass(frozen=True)
class Null:
    """An argument is a null pointer."""

    argument: int

    def code(self, refuse: Code) -> Code:
        """Return the instructions."""
        halves = [_load_argument(self.argument), _load_argument(self.argument, high=True)]
        return [step for half in halves for step in (half, (_JUMP_IF_EQUAL, 1, 0, 0), *refuse)]


def _load_argument(argument: int, *, high: bool = False) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * argument + (4 if high else 0))


def assemble(
    machine: int,
    allowed: Iterable[int],
    tested: Mapping[int, Sequence[ArgumentTest]],
    errors: Mapping[int, int],
    other: int,
) -> bytes:
    """Return the program of a filter for one machine (its AUDIT_ARCH constant).

    Calls in `allowed` pass, those in `tested` pass if all their tests hold; those in `errors` fail with the error named
    there. All others, and all calls by the numbers of another machine, fail with `other`.
    """
    refuse: Code = [(_RETURN, 0, 0, _FAIL | other)]
    allow: Code = [(_RETURN, 0, 0, _ALLOW)]
    program: Code = [(_LOAD, 0, 0, _MACHINE_OFFSET), (_JUMP_IF_EQUAL, 1, 0, machine), *refuse]
    program.append((_LOAD, 0, 0, _NUMBER_OFFSET))
    for number in allowed:
        program += _case(number, allow)
    for number, tests in tested.items():
        program += _case(number, [step for test in tests for step in test.code(refuse)] + allow)
    for number, error in errors.items():
        program += _case(number, [(_RETURN, 0, 0, _FAIL | error)])
    program += refuse
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _case(number: int, body: Code) -> Code:
    """Return the code for one call: its body, which always returns, or a jump over it."""
    return [(_JUMP_IF_EQUAL, 0, len(body), number), *body]
