"""Damage to payloads: it repeats, and changes something."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench.kit.damage import BOMB_BYTES, damaged


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_damage_repeats_and_changes_something(payloads):
    found = list(damaged(payloads))
    assert found == list(damaged(payloads))
    if len(payloads) == 1:
        assert payloads[0] not in [payload for what, payload in found if "random" not in what]
    assert len({what for what, _ in found}) >= 7


def test_the_bomb_is_a_valid_stream_of_zeros():
    (bomb,) = [payload for what, payload in damaged([b"x"]) if what.endswith("MiB from byte 0")]
    unpacker = zlib.decompressobj()
    size, rest = 0, bomb
    while rest:
        size += len(unpacker.decompress(rest, 1 << 24))
        rest = unpacker.unconsumed_tail
    assert unpacker.eof
    assert size == BOMB_BYTES
    assert len(bomb) < 1 << 20
