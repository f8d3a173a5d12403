"""The hash of a workload's data: inputs and targets of a fixed few samples, the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.workload import Subset

HASHED_SAMPLES = 8
"""The samples of one subset that are hashed, at most."""


def spread_positions(count: int) -> list[int]:
    """Return up to HASHED_SAMPLES of `count` positions: the first, the last, and some between them."""
    if count <= HASHED_SAMPLES:
        return list(range(count))
    return [round(i * (count - 1) / (HASHED_SAMPLES - 1)) for i in range(HASHED_SAMPLES)]


def first_positions(count: int) -> list[int]:
    """Return up to HASHED_SAMPLES of `count` positions from the first on: the same ones for any larger count."""
    return list(range(min(count, HASHED_SAMPLES)))


def scored_positions(counts: Mapping[Subset, int], fit_count: int) -> dict[Subset, list[int]]:
    """Return the positions whose samples stand for the data of a run that scores so many samples.

    They are spread over the test samples, and the first of the others: runs of one key have the same test samples, but
    may have different numbers of the others.
    """
    return {
        "test": spread_positions(counts["test"]), "choice": first_positions(counts["choice"]),
        "fit": first_positions(fit_count),
    }  # fmt: skip


def data_sha256(samples: Mapping[Subset, tuple[Iterable[Any], Iterable[Any]]]) -> str:
    """Return the hex SHA-256 of inputs and targets by subset."""
    found = []
    for subset, (inputs, targets) in sorted(samples.items()):
        arrays = [_array(np.asarray(value)) for value in inputs]
        found.append(_node("subset", [subset.encode(), *arrays, *map(value_sha256, targets)]))
    return _node("data", found).hex()


def value_sha256(value: Any) -> bytes:
    """Return the SHA-256 of a value, by its content: types, arrays by dtype, shape and bytes, objects by their state.

    Neither the order of sets and dicts nor identity counts. An object that cannot be taken apart counts by its type.
    """
    return _digest(value, [])


def _digest(value: Any, around: list[Any]) -> bytes:
    """Return the digest of a value; `around` are the containers that it lies in, so that a cycle ends."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return _plain(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return _array(np.asarray(value))
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return _node("name", [f"{value.__module__}.{value.__qualname__}".encode()])
    for depth, outer in enumerate(around):
        if outer is value:
            return _node("cycle", [str(depth).encode()])
    inner = [*around, value]
    if isinstance(value, Mapping):
        pairs = (_node("pair", [_digest(key, inner), _digest(held, inner)]) for key, held in value.items())
        return _node(f"mapping {_kind(value)}", sorted(pairs))
    if isinstance(value, Set):
        return _node(_kind(value), sorted(_digest(held, inner) for held in value))
    if type(value) in (list, tuple):
        return _node(_kind(value), [_digest(held, inner) for held in value])
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor
        return _tensor(value.detach().cpu(), inner)
    if isinstance(value, np.ndarray):
        return _node(f"objects {value.shape}", [_digest(held, inner) for held in value.ravel().tolist()])
    return _object(value, inner)


def _plain(value: Any) -> bytes:
    content = bytes(value) if isinstance(value, bytes | bytearray) else repr(value).encode(errors="surrogatepass")
    return _node(_kind(value), [content])


def _array(value: NDArray[Any]) -> bytes:
    if value.dtype.hasobject:
        return _digest(value, [])
    dtype = value.dtype.newbyteorder("<")
    return _node(f"array {dtype.str} {dtype.names} {value.shape}", [value.astype(dtype, order="C").tobytes()])


def _tensor(value: Any, inner: list[Any]) -> bytes:
    try:
        content = _array(value.numpy())
    except TypeError:  # numpy has no such dtype
        content = _digest(value.tolist(), inner)
    return _node(f"tensor {value.dtype}", [content])


def _object(value: Any, inner: list[Any]) -> bytes:
    """Return the digest of an object from what pickle would keep of it."""
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # such as an open file
        return _node(f"object {_kind(value)}", [])
    if isinstance(reduced, str):
        return _node("name", [reduced.encode()])
    made, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    parts = [_digest(made, inner), _digest(arguments, inner), _digest(state, inner)]
    parts += [_digest(held, inner) for held in _listed(items)]
    parts += sorted(_node("pair", [_digest(key, inner), _digest(held, inner)]) for key, held in _listed(pairs))
    return _node(f"object {_kind(value)}", parts)


def _listed(items: Iterable[Any] | None) -> list[Any]:
    return [] if items is None else list(items)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _node(kind: str, parts: Sequence[bytes]) -> bytes:
    """Return a digest of a kind and its parts, with their number and lengths, so that no two values run together."""
    found = hashlib.sha256(f"{kind} {len(parts)}".encode())
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()
