"""The conformance kit for codec authors."""
