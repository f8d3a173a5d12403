"""Speech that is spelt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.descriptions import PlainNetwork, describe

from codecbench.adapters.contracts import DataAdapter
from codecbench.adapters.tasks.ctc import open_task
from codecbench.errors import DataError

LETTERS = ["", " ", "a", "b", "c"]
NETWORK = PlainNetwork(vocabulary=LETTERS)


def logits(*tokens: int) -> np.ndarray:
    found: np.ndarray = np.eye(len(LETTERS), dtype=np.float32)[list(tokens)]
    return found


def test_edits_over_words_and_over_characters() -> None:
    pytest.importorskip("jiwer")
    found = open_task("", describe()).score((logits(2, 1, 3, 0, 3),), "a bc c", NETWORK)
    assert found["WER"] == (2.0, 3.0)
    assert found["CER"] == (3.0, 6.0)


class Spoken(DataAdapter):
    """Recordings with these transcripts."""

    def names(self) -> list[str]:
        return list(self.texts)

    def input_spec(self, network: Any) -> Any:
        raise NotImplementedError

    def input(self, name: str, network: Any) -> Any:
        raise NotImplementedError

    def target(self, name: str) -> Any:
        return self.texts[name]

    texts: dict[str, Any]


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), (7, "no text")])
def test_a_transcript_that_is_none(text: Any, reason: str) -> None:
    samples = Spoken("x", describe())
    samples.texts = {"a.wav": "  Good   Morning ", "b.wav": text}
    task = open_task("", describe())
    assert task.target("a.wav", NETWORK, samples) == "good morning"
    with pytest.raises(DataError, match=f"^m:f: the transcript of b.wav is {reason}$"):
        task.check(NETWORK, samples)


def test_a_model_that_does_not_spell() -> None:
    with pytest.raises(DataError, match=r"^--task ctc: the model m:f has no vocabulary \(vocab.json\)$"):
        open_task("", describe()).check(PlainNetwork(), Spoken("x", describe()))
