"""The argument `edge`: every codec that has it, at an image and at a feature map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from support.registered import CODECS

import codecbench.kit.checks  # noqa: F401 - registers the checks
from codecbench import Codec, FitData, Side, TensorSpec
from codecbench.kit.cases import KitCase
from codecbench.kit.runner import Kit
from codecbench.kit.samples import fit_data, samples
from codecbench.toolbox.codecs import Steerable
from codecbench.toolbox.codecs.steerable import MARK

IMAGE, FEATURES = TensorSpec((3, 32, 32), image=True), TensorSpec((4, 8, 8))
NAMES = ("webp", "avif", "jpeg-huffman", "jpegxl", "jpeg2000", "klt", "klt-task", "quant-rans")
FITTED = ("klt", "klt-task", "quant-rans")
"""Those that are fitted when they decode plainly, too."""

every_codec = pytest.mark.parametrize("name", NAMES)


def plain_point(name: str, spec: TensorSpec = IMAGE) -> Mapping[str, Any]:
    codec = CODECS[name]
    if codec.unavailable():
        pytest.skip(codec.unavailable() or "")
    return {**codec.point_defaults(spec), **codec.quick_points_for(spec)[0]}


@cache
def sides(name: str, edge: str) -> dict[Side, Codec]:
    case = KitCase(CODECS[name], IMAGE, {**plain_point(name), "edge": edge})
    return {"device": case.side("device"), "edge": case.side("edge")}


def test_these_are_all() -> None:
    assert {name for name, codec in CODECS.items() if issubclass(codec, Steerable)} == set(NAMES)
    assert {name for name, codec in CODECS.items() if "edge" in codec.implied} == {*NAMES, "deepcod-rd", "restored"}


@every_codec
def test_a_steered_point_passes_the_kit(name: str) -> None:
    plain_point(name)
    kit = Kit([CODECS[name]], [IMAGE], lambda codec, spec: [{**codec.quick_points_for(spec)[0], "edge": "steered"}])
    outcomes = [kit.outcome(check, subject) for check, subject in kit.subjects()]
    assert [outcome.line() for outcome in outcomes if outcome.status == "failed"] == []
    passed = {outcome.check for outcome in outcomes if outcome.status == "passed"}
    assert {"check_fit_repeats", "check_other_process", "check_damaged_payloads"} <= passed


@every_codec
def test_payloads_are_the_plain_ones_and_images_are_moved(name: str) -> None:
    plain, helped = sides(name, "plain"), sides(name, "steered")
    xs = samples(IMAGE, 3, seed=5)
    payloads = plain["device"].encode_batch(xs)
    assert helped["device"].encode_batch(xs) == payloads
    moved = helped["edge"].decode_batch(payloads)
    assert all(torch.equal(helped["edge"].decode(payload), y) for payload, y in zip(payloads, moved, strict=True))
    assert not all(torch.equal(y, plain["edge"].decode(p)) for p, y in zip(payloads, moved, strict=True))
    assert all(0 <= float(y.min()) <= float(y.max()) <= 1 for y in moved)


@every_codec
def test_keys_and_reprs_of_plain_points_do_not_name_the_edge(name: str) -> None:
    codec = CODECS[name]
    plain_point(name)
    for spec in (IMAGE, FEATURES):
        assert all("edge" not in point for point in codec.points_for(spec))
        assert "edge" not in codec(spec, edge="plain").point
        assert codec.needs_fit(spec) == (name in FITTED)
    assert codec(IMAGE, edge="steered").point["edge"] == "steered"
    assert codec.needs_fit(IMAGE, edge="steered")
    assert codec.needs_gradients(IMAGE, edge="steered")
    assert codec.needs_gradients(IMAGE) == codec.needs_differentiable_tail


@every_codec
def test_the_full_preset_steers_images_and_nothing_else(name: str) -> None:
    codec = CODECS[name]
    steered = codec.further_points_for(IMAGE)
    assert 3 <= len(steered) <= len(codec.points_for(IMAGE))
    assert all(point["edge"] == "steered" for point in steered)
    assert codec.further_points_for(FEATURES) == ()
    assert codec.skip_reason(IMAGE, **steered[0]) is None
    features = {**plain_point(name, FEATURES), "edge": "steered"}
    assert "needs an image" in (codec.skip_reason(FEATURES, **features) or "")
    assert codec.skip_reason(IMAGE, edge="sharp") == "edge is 'plain' or 'steered', not 'sharp'"


@pytest.mark.parametrize("name", FITTED)
def test_a_fitted_codec_starts_from_its_plain_state(name: str) -> None:
    point = plain_point(name)
    plain = {key: value for key, value in point.items() if key != "edge"}
    assert CODECS[name].starts_from(IMAGE, **{**plain, "edge": "steered"}) == plain
    assert CODECS[name].starts_from(IMAGE, **plain) is None
    states = KitCase(CODECS[name], IMAGE, plain).states
    start = (states["device"], states["edge"])
    helped = CODECS[name](IMAGE, **{**plain, "edge": "steered"})
    helped.fit(_started(start))
    assert helped.export("device") == states["device"]
    edge = helped.export("edge")
    assert edge.startswith(MARK)
    assert states["edge"] in edge
    # A further fit starts from the state of the steered point itself.
    again = CODECS[name](IMAGE, **{**plain, "edge": "steered"})
    again.fit(_started((states["device"], edge)))
    assert again.export("edge") == edge


def _started(start: tuple[bytes, bytes]) -> FitData:
    return dataclasses.replace(fit_data(IMAGE), start=start)


def test_picture_codecs_share_one_copy_for_all_qualities() -> None:
    states = [KitCase(CODECS["webp"], IMAGE, {"quality": q, "edge": "steered"}).fit() for q in (40, 90)]
    assert states[0] == states[1]
    assert states[0]["device"] == b""


@every_codec
def test_a_state_without_the_copy_or_cut_off_is_refused(name: str) -> None:
    case = KitCase(CODECS[name], IMAGE, {**plain_point(name), "edge": "steered"})
    state = case.states["edge"]
    with pytest.raises(ValueError, match="needs a state with a copy of the tail"):
        case.make().restore("edge", b"")
    with pytest.raises(Exception, match=r"cut|no state|ends within"):
        case.make().restore("edge", state[: len(MARK) + 2])
    with pytest.raises(RuntimeError, match="has to be fitted"):
        case.make().decode(case.payloads[0])
