"""Catalogues: where a run asks for the descriptions of codecs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pluggy

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecAtSpec, CodecInfo, CodecSummary, PointRequest, Preset
from codecbench.descriptions.describe import describe_at, describe_codec, summarise_codec
from codecbench.names import pick
from codecbench.registry import codec_plugins, codecs


class CodecCatalogue(Protocol):
    """The registered codecs, described. A name that is not registered raises UsageError with the nearest one."""

    def names(self) -> Sequence[str]:
        """Return the names of all codecs, sorted."""

    def infos(self, names: Sequence[str]) -> Sequence[CodecInfo]:
        """Return what holds for each of these codecs with every tensor."""

    def at(self, name: str, spec: TensorSpec, preset: Preset, point: PointRequest | None = None) -> CodecAtSpec:
        """Return what a codec says of a tensor: of the preset's points, or of `point` alone. See `describe_at`."""


class LocalCatalogue:
    """The codecs of a plugin manager, asked in this process."""

    def __init__(self, pm: pluggy.PluginManager) -> None:
        self._codecs = codecs(pm)
        self._plugins = codec_plugins(pm)
        self._infos: dict[str, CodecInfo] = {}

    def names(self) -> Sequence[str]:
        """Return the names of all codecs, sorted."""
        return list(self._codecs)

    def summaries(self) -> Sequence[CodecSummary]:
        """Return the entries of a list of all codecs, sorted by name."""
        return [summarise_codec(codec) for codec in self._codecs.values()]

    def infos(self, names: Sequence[str]) -> Sequence[CodecInfo]:
        """Return what holds for each of these codecs with every tensor."""
        return [self.info(name) for name in names]

    def info(self, name: str) -> CodecInfo:
        """Return what holds for a codec with every tensor. The source is hashed once."""
        codec = pick(self._codecs, name, "codec")
        if name not in self._infos:
            self._infos[name] = describe_codec(codec, mixed_plugin=self._plugins[name].mixed)
        return self._infos[name]

    def at(self, name: str, spec: TensorSpec, preset: Preset, point: PointRequest | None = None) -> CodecAtSpec:
        """Return what a codec says of a tensor: of the preset's points, or of `point` alone. See `describe_at`."""
        return describe_at(pick(self._codecs, name, "codec"), spec, preset, point)
