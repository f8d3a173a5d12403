"""Speech recognised by connectionist temporal classification: decoded from logits, and compared with what was said."""

from codecbench.toolbox.speech.decoding import beam_text, greedy_text, normalised
from codecbench.toolbox.speech.edits import character_edits, word_edits

__all__ = ["beam_text", "character_edits", "greedy_text", "normalised", "word_edits"]
