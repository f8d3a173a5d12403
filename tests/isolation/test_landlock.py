"""Each version of Landlock is asked for what it knows, and no more."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from codecbench.isolation import landlock
from codecbench.isolation.landlock import READ_DIR, READ_FILE, Ruleset, kernel_abi


class FakeKernel:
    """Answers the three system calls and keeps what they were called with."""

    def __init__(self, abi: int) -> None:
        self.abi = abi
        self.attributes = b""
        self.rules: list[tuple[int, str]] = []
        self.restricted: list[int] = []
        self.privileges_forbidden = False

    def __call__(self, number: int, *args: Any) -> int:
        if number == landlock.CREATE_RULESET and args[0] is None:
            return self.abi
        if number == landlock.CREATE_RULESET:
            self.attributes = ctypes.string_at(args[0], args[1].value)
            return os.open(os.devnull, os.O_RDONLY)
        if number == landlock.ADD_RULE:
            rule = args[2]._obj
            self.rules.append((rule.rights, str(Path(f"/proc/self/fd/{rule.fd}").readlink())))
        if number == landlock.RESTRICT_SELF:
            self.restricted.append(args[1].value)
        return 0

    def forbid_new_privileges(self) -> None:
        self.privileges_forbidden = True


@pytest.mark.parametrize(
    ("abi", "attributes_bytes", "rights"),
    [
        (1, 8, 0x1FFF), (2, 8, 0x3FFF), (3, 8, 0x7FFF), (4, 16, 0x7FFF), (5, 16, 0xFFFF), (6, 24, 0xFFFF),
        (7, 24, 0xFFFF), (9, 24, 0xFFFF),
    ],
)  # fmt: skip
def test_a_version_is_asked_for_all_that_it_knows(abi, attributes_bytes, rights):
    kernel = FakeKernel(abi)
    rules = Ruleset(kernel)  # type: ignore[arg-type]
    rules.close()
    assert len(kernel.attributes) == attributes_bytes
    assert int.from_bytes(kernel.attributes[:8], "little") == rules.rights == rights
    assert kernel.attributes[8:] == b"\3\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"[: attributes_bytes - 8]
    assert rules.abi == min(abi, 7)


def test_reading_can_be_free():
    rules = Ruleset(FakeKernel(7), reads_free=True)  # type: ignore[arg-type]
    rules.close()
    assert rules.rights & (READ_FILE | READ_DIR | 1) == 0
    assert rules.rights & landlock.WRITE_FILE


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the fake kernel reads /proc")
def test_a_rule_has_no_right_that_the_version_does_not_know(tmp_path):
    kernel = FakeKernel(1)
    rules = Ruleset(kernel)  # type: ignore[arg-type]
    assert rules.allow(str(tmp_path), READ_FILE | landlock.TRUNCATE)
    assert not rules.allow(str(tmp_path / "missing"), READ_FILE)
    rules.close()
    assert kernel.rules == [(READ_FILE, str(tmp_path))]


@pytest.mark.parametrize(("abi", "flags"), [(6, 0), (7, 1)])
def test_restricting_closes_the_rules_here(abi, flags):
    kernel = FakeKernel(abi)
    rules = Ruleset(kernel)  # type: ignore[arg-type]
    rules.restrict()
    assert kernel.restricted == [flags]
    assert kernel.privileges_forbidden
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(rules.fd)


def test_other_systems_have_none(monkeypatch):
    monkeypatch.setattr(landlock.sys, "platform", "darwin")
    with pytest.raises(OSError, match="Landlock is a part of Linux"):
        kernel_abi(FakeKernel(7))  # type: ignore[arg-type]
