"""Damaged payloads: cut, altered, random, with huge sizes in them, or inflating to a huge size."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

BOMB_BYTES = 128 << 20
"""The size to which a compressed payload of zeros inflates."""


HEADER_BYTES = 16
"""Half of all edits start in these first bytes, where a payload has sizes, ranges and the choice of tables."""


def damaged(payloads: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield (description, payload) of damaged versions of valid payloads. Deterministic."""
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
        # A size that is read from here, in any byte order or coding, is close to its maximum.
        yield f"with 8 bytes of 0xff at {start}", valid[:start] + b"\xff" * 8 + valid[start + 8 :]
        yield f"with a size of 2^62 at {start}", valid[:start] + b"\xff" * 8 + b"\x3f" + valid[start + 9 :]
    for start in (0, 1, 4):
        yield f"that inflates to {BOMB_BYTES >> 20} MiB from byte {start}", valid[:start] + _bomb()


def _positions(rng: random.Random, length: int) -> list[int]:
    """Return the positions of the first bytes, where headers are, and of some of the rest."""
    first = list(range(min(8, length)))
    return first + [rng.randrange(8, length) for _ in range(6) if length > 8]


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Return a zlib stream (RFC 1950) of zeros: the deflate blocks of 1 MiB, flushed to a byte boundary, repeated."""
    chunk = bytes(1 << 20)
    packer = zlib.compressobj(9)
    header = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    # Adler-32 of n zeros: the low sum stays 1, the high one counts them modulo 65521 (RFC 1950, section 8.2).
    check = (BOMB_BYTES % 65521) << 16 | 1
    return header + block * (BOMB_BYTES // len(chunk)) + b"\x03\x00" + check.to_bytes(4, "big")


def mutated(payloads: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield damaged payloads without end: valid ones with one to four random edits, and random bytes.

    Deterministic for a seed. None of them equals a valid payload. They may repeat.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable damage, not a secret
    valid = set(payloads)
    while True:
        payload = rng.choice(payloads)
        for _ in range(rng.choice((1, 1, 2, 4))):
            payload = rng.choice(_EDITS)(rng, payload, rng.choice(payloads))
        if payload not in valid:
            yield payload


def _edit_start(rng: random.Random, payload: bytes) -> int:
    """Return a random position, from the payload's first byte to the end."""
    return rng.randint(0, min(len(payload), HEADER_BYTES) if rng.random() < 0.5 else len(payload))


def _edit_length(rng: random.Random) -> int:
    """Return a random number of bytes, mostly a small one."""
    return rng.choice((1, 1, 2, 4, 8, rng.randint(1, 64)))


def _flip_bit(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    flipped, start = bytearray(payload), _edit_start(rng, payload)
    if start < len(payload):
        flipped[start] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _overwrite(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start, count = _edit_start(rng, payload), min(_edit_length(rng), len(payload))
    filling = rng.choice((bytes(count), b"\xff" * count, b"\x80" * count, rng.randbytes(count)))
    return (payload[:start] + filling + payload[start + count :])[: len(payload)]


def _write_number(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    """Write a number near a power of two, of fixed width or as a varint: it may be read as a size."""
    number = (1 << rng.randrange(1, 64)) + rng.randint(-1, 1)
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    varint = bytes([group | 128 for group in groups[:-1]] + groups[-1:])
    width = rng.choice((2, 4, 8))
    fixed = (number & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))
    start, written = _edit_start(rng, payload), rng.choice((varint, fixed))
    return payload[:start] + written + payload[start + len(written) :]


def _cut(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    return payload[: _edit_start(rng, payload)]


def _extend(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    count = _edit_length(rng)
    return payload + rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count), other))


def _delete(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start = _edit_start(rng, payload)
    return payload[:start] + payload[start + _edit_length(rng) :]


def _insert(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    start, source, count = _edit_start(rng, payload), _edit_start(rng, other), _edit_length(rng)
    filling = rng.choice((rng.randbytes(count), other[source : source + count]))
    return payload[:start] + filling + payload[start:]


def _duplicate(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start = _edit_start(rng, payload)
    end = start + _edit_length(rng)
    return payload[:end] + payload[start:]


def _splice(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    return payload[: _edit_start(rng, payload)] + other[_edit_start(rng, other) :]


def _replace(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    return rng.randbytes(rng.randint(0, len(payload) + 8))


_EDITS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip_bit, _flip_bit, _flip_bit, _overwrite, _overwrite, _write_number, _cut, _extend, _delete, _insert, _duplicate,
    _splice, _replace,
)  # fmt: skip
"""The edits, all equally likely to be drawn; small ones are listed several times."""
