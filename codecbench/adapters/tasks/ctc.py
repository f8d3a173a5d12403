"""Speech by connectionist temporal classification: word and character error rates of the greedily decoded text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import DataError
from codecbench.toolbox.speech import character_edits, greedy_text, normalised, word_edits
from codecbench.workload import RatioMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

USES = ("toolbox/speech",)


class Transcription(TaskAdapter):
    """WER, which decides, and CER. Capitals and repeated spaces make no difference."""

    metrics = (
        RatioMetric("WER", "%", higher_is_better=False, scale=100.0),
        RatioMetric("CER", "%", higher_is_better=False, scale=100.0),
    )
    budget = 1.0

    def check(self, network: ModelAdapter, samples: DataAdapter) -> None:
        """Raise DataError for a recording without a transcript, and for a model without a vocabulary."""
        _vocabulary(network)
        for name in samples.names():
            self.target(name, network, samples)

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> str:
        """Return the transcript, normalised. Raises DataError for one that is no text."""
        found = samples.target(name)
        if not isinstance(found, str) or not normalised(found):
            raise DataError(f"{samples.label}: the transcript of {name} is {'empty' if found == '' else 'no text'}")
        return normalised(found)

    def score(
        self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter
    ) -> dict[str, tuple[float, float]]:
        """Return edits over words, and edits over characters."""
        spoken = greedy_text(output[0], _vocabulary(network))
        return {"WER": word_edits(target, spoken), "CER": character_edits(target, spoken)}


def _vocabulary(network: ModelAdapter) -> Sequence[str]:
    found = network.vocabulary
    if found is None:
        raise DataError(f"--task ctc: the model {network.description.portable().model} has no vocabulary (vocab.json)")
    return found


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Transcription(argument, description)
