"""Damage to a payload, drawn by hypothesis, and what its decoder may make of it."""

from __future__ import annotations

from hypothesis import strategies as st

from codecbench import Codec


def check_damage_is_harmless(edge: Codec, payload: bytes, data: st.DataObject) -> None:
    """Cut the payload, or flip one to eight of its bits: it is refused, or decodes to a tensor that fits the spec."""
    damaged = bytearray(payload)
    if data.draw(st.booleans(), "cut"):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 8))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        y = edge.decode(bytes(damaged))
    except Exception:  # the contract lets decode raise anything: core makes a PayloadError of it
        return
    assert edge.spec.mismatch(y.shape, str(y.dtype).removeprefix("torch.")) is None
