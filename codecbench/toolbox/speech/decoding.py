"""The text of a CTC network's outputs: of the likeliest path, or of the likeliest text by a beam search over prefixes.

Output 0 is the blank where it matters: in the beam search. A vocabulary has the text of each output, an empty one for
the blank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Prefix: TypeAlias = tuple[int, ...]

BLANK = 0
BEAM = 8
"""The prefixes that the beam search keeps."""
NEGLIGIBLE = 1e-3
"""The probability below which the beam search does not try a token at a time step."""


def greedy_text(logits: NDArray[Any], vocabulary: Sequence[str]) -> str:
    """Return the text of the likeliest tokens of (time, tokens) logits; repeated ones count once."""
    best = logits.argmax(-1).tolist()
    kept = [token for token, before in zip(best, [None, *best[:-1]], strict=True) if token != before]
    return _text(kept, vocabulary)


def beam_text(logits: NDArray[Any], vocabulary: Sequence[str], beam: int = BEAM, negligible: float = NEGLIGIBLE) -> str:
    """Return the likeliest text of (time, tokens) logits, the probabilities of all its paths added up.

    `beam` prefixes are kept after each time step (Graves and Jaitly 2014, algorithm 1, without a language model).
    """
    return _text(_likeliest(_probabilities(logits), beam, negligible), vocabulary)


def normalised(text: str) -> str:
    """Return a text in small letters with single spaces."""
    return " ".join(text.casefold().split())


def _text(tokens: Sequence[int], vocabulary: Sequence[str]) -> str:
    return normalised("".join(vocabulary[token] if token < len(vocabulary) else "" for token in tokens))


def _probabilities(logits: NDArray[Any]) -> list[list[float]]:
    """Return the softmax of each time step."""
    import numpy as np

    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    rows: list[list[float]] = (powers / powers.sum(-1, keepdims=True)).tolist()
    return rows


def _likeliest(rows: Sequence[Sequence[float]], beam: int, negligible: float) -> Prefix:
    """Return the likeliest sequence of tokens.

    Of each prefix two probabilities are kept: of its paths that end with the blank, and of those that end with its last
    token. They are scaled to a sum of 1 at each time step, so that long recordings do not underflow.
    """
    kept: dict[Prefix, tuple[float, float]] = {(): (1.0, 0.0)}
    for row in rows:
        tokens = [(token, share) for token, share in enumerate(row) if token != BLANK and share >= negligible]
        grown: dict[Prefix, list[float]] = {}
        for prefix, (blank, sounding) in kept.items():
            last = prefix[-1] if prefix else None
            entry = grown.setdefault(prefix, [0.0, 0.0])
            entry[0] += (blank + sounding) * row[BLANK]
            if last is not None:
                entry[1] += sounding * row[last]
            for token, share in tokens:
                # A token that repeats the last one starts anew only behind a blank.
                before = blank if token == last else blank + sounding
                grown.setdefault((*prefix, token), [0.0, 0.0])[1] += before * share
        best = sorted(grown.items(), key=lambda item: (-sum(item[1]), item[0]))[:beam]
        total = math.fsum(sum(shares) for _, shares in best) or 1.0
        kept = {prefix: (shares[0] / total, shares[1] / total) for prefix, shares in best}
    return max(kept.items(), key=lambda item: (sum(item[1]), item[0]))[0]
