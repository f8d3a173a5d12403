"""Payloads that no encoder made: cut short, altered, random, with huge sizes in them, or inflating without end."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

BOMB_BYTES = 128 << 20
"""What a compressed payload of zeros would inflate to."""


def damaged(payloads: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Named payloads that no encoder made, from valid ones: the same for the same payloads."""
    rng = random.Random(0)  # noqa: S311 - repeatable damage, not a secret
    valid = max(payloads, key=len)
    for length in sorted({n for n in (0, 1, len(valid) // 2, len(valid) - 1) if 0 <= n < len(valid)}):
        yield f"cut to {length} of {len(valid)} bytes", valid[:length]
    yield "with a byte too many", valid + b"\0"
    for payload in (valid, min(payloads, key=len)):
        for position in _positions(rng, len(payload)):
            flipped = bytearray(payload)
            flipped[position] ^= 1 << rng.randrange(8)
            yield f"with a bit flipped in byte {position}", bytes(flipped)
    for length in (4, 64, max(1, len(valid))):
        yield f"of {length} random bytes", rng.randbytes(length)
    for start in range(min(4, len(valid))):
        # A size read from here, in whatever byte order or coding, is about as large as it can be.
        yield f"with 8 bytes of 0xff at {start}", valid[:start] + b"\xff" * 8 + valid[start + 8 :]
        yield f"with a size of 2^62 at {start}", valid[:start] + b"\xff" * 8 + b"\x3f" + valid[start + 9 :]
    for start in (0, 1, 4):
        yield f"that inflates to {BOMB_BYTES >> 20} MiB from byte {start}", valid[:start] + _bomb()


def _positions(rng: random.Random, length: int) -> list[int]:
    """The first bytes, where headers are, and some of the rest."""
    first = list(range(min(8, length)))
    return first + [rng.randrange(8, length) for _ in range(6) if length > 8]


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """A zlib stream (RFC 1950) of zeros: one mebibyte's deflate blocks, flushed to a byte boundary, over and over."""
    chunk = bytes(1 << 20)
    packer = zlib.compressobj(9)
    header = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    # Adler-32 of n zeros: the low sum stays 1, the high one counts them modulo 65521 (RFC 1950, section 8.2).
    check = (BOMB_BYTES % 65521) << 16 | 1
    return header + block * (BOMB_BYTES // len(chunk)) + b"\x03\x00" + check.to_bytes(4, "big")
