"""Checks of a results folder: digests, summaries computed again from samples, payloads encoded again."""

from codecbench.verification.folder import Verification, verify
from codecbench.verification.payloads import EncodedAgain, encode_again

__all__ = ["EncodedAgain", "Verification", "encode_again", "verify"]
