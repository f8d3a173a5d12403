"""Digests of payloads and decoded tensors, with which anybody can encode again and compare."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.errors import DataError
from codecbench.results.record import SampleDigest
from codecbench.workload import SampleId, Subset

DIGESTED_SAMPLES = 16
"""The number of samples with digests of their own in a record; fewer where a run has fewer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PayloadChain:
    """A SHA-256 over payloads in their order, one by one: d_k = SHA-256(d_(k-1) + SHA-256(payload_k)).

    d_0 is 32 zero bytes. The hexadecimal digest is the whole state, so an interrupted chain continues from it.
    """

    def __init__(self) -> None:
        self._state = bytes(32)

    @classmethod
    def from_hex(cls, digest: str) -> PayloadChain:
        """Return the chain that had this digest. Raises DataError if it is not 64 lower-case hexadecimal digits."""
        if not _SHA256.fullmatch(digest):
            raise DataError(f"a digest of payloads has 64 hexadecimal digits, not {digest!r}; measure the cell again")
        chain = cls()
        chain._state = bytes.fromhex(digest)
        return chain

    def add(self, payload: bytes) -> None:
        """Append one payload."""
        self.add_digest(hashlib.sha256(payload).digest())

    def add_digest(self, digest: bytes) -> None:
        """Append a payload by its SHA-256."""
        self._state = hashlib.sha256(self._state + digest).digest()

    @property
    def hex(self) -> str:
        """The digest of all payloads so far: 64 hexadecimal digits."""
        return self._state.hex()


def payload_sha256(payload: bytes) -> str:
    """Return the hex SHA-256 of a payload."""
    return hashlib.sha256(payload).hexdigest()


def tensor_sha256(tensor: NDArray[Any]) -> str:
    """Return the hex SHA-256 of a tensor's row-major little-endian bytes."""
    plain = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.tobytes()).hexdigest()


def sample_digest(subset: Subset, sample_id: SampleId, payload: bytes, decoded: NDArray[Any]) -> SampleDigest:
    """Return the digests of one sample: of its payload, and of the decoded tensor."""
    return SampleDigest(
        sample_id=sample_id, subset=subset, payload=payload_sha256(payload), tensor=tensor_sha256(decoded)
    )
