"""Payloads that no encoder made: cut short, altered, random, with huge sizes in them, or inflating without end."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

BOMB_BYTES = 128 << 20
"""What a compressed payload of zeros would inflate to."""


HEADER_BYTES = 16
"""Half of all edits fall in here, where sizes, ranges and the choice of tables are."""


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


def mutated(payloads: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Payloads without end that no encoder made: valid ones with one to four random edits, and random bytes.

    The same for the same payloads and seed. None is one of the valid payloads; apart from that, they may repeat.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable damage, not a secret
    valid = set(payloads)
    while True:
        payload = rng.choice(payloads)
        for _ in range(rng.choice((1, 1, 2, 4))):
            payload = rng.choice(_EDITS)(rng, payload, rng.choice(payloads))
        if payload not in valid:
            yield payload


def _place(rng: random.Random, payload: bytes) -> int:
    """Somewhere from the payload's first byte to behind its last."""
    return rng.randint(0, min(len(payload), HEADER_BYTES) if rng.random() < 0.5 else len(payload))


def _some(rng: random.Random) -> int:
    """A number of bytes: mostly few."""
    return rng.choice((1, 1, 2, 4, 8, rng.randint(1, 64)))


def _flip_bit(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    flipped, start = bytearray(payload), _place(rng, payload)
    if start < len(payload):
        flipped[start] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _overwrite(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start, count = _place(rng, payload), min(_some(rng), len(payload))
    filling = rng.choice((bytes(count), b"\xff" * count, b"\x80" * count, rng.randbytes(count)))
    return (payload[:start] + filling + payload[start + count :])[: len(payload)]


def _write_number(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    """A number near a power of two, where a size may stand: of fixed width or as a varint."""
    number = (1 << rng.randrange(1, 64)) + rng.randint(-1, 1)
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    varint = bytes([group | 128 for group in groups[:-1]] + groups[-1:])
    width = rng.choice((2, 4, 8))
    fixed = (number & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))
    start, written = _place(rng, payload), rng.choice((varint, fixed))
    return payload[:start] + written + payload[start + len(written) :]


def _cut(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    return payload[: _place(rng, payload)]


def _extend(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    count = _some(rng)
    return payload + rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count), other))


def _delete(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start = _place(rng, payload)
    return payload[:start] + payload[start + _some(rng) :]


def _insert(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    start, source, count = _place(rng, payload), _place(rng, other), _some(rng)
    filling = rng.choice((rng.randbytes(count), other[source : source + count]))
    return payload[:start] + filling + payload[start:]


def _duplicate(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    start = _place(rng, payload)
    end = start + _some(rng)
    return payload[:end] + payload[start:]


def _splice(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    return payload[: _place(rng, payload)] + other[_place(rng, other) :]


def _replace(rng: random.Random, payload: bytes, _other: bytes) -> bytes:
    return rng.randbytes(rng.randint(0, len(payload) + 8))


_EDITS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip_bit, _flip_bit, _flip_bit, _overwrite, _overwrite, _write_number, _cut, _extend, _delete, _insert, _duplicate,
    _splice, _replace,
)  # fmt: skip
"""What an edit may be; those that leave most of a payload as it was come up more often."""
