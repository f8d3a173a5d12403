"""Makes matplotlib's SVG small and ready for a page: unique ids, a title, a description, tooltips, no style elements.

Styles become presentation attributes, which a strict content security policy allows. An attribute that all elements of
a group share is set once, on the group.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_FONT = "'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif"
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_SPACES = re.compile(r"\s+")
_STRAIGHT = re.compile(r"^M (\S+) (\S+) L (\S+) (\S+)$")
_DRAWS = re.compile(r"[LHVCQ]", re.IGNORECASE)
_STROKE = re.compile(r"^M0 0[HV]\S+$")
_COMMAND = re.compile(r" ?([A-Za-z]) ?")
_NO_ROTATION = re.compile(r"rotate\(-?0(?: [\d.]+)*\)\s*")

_INHERITED = (
    "fill", "fill-opacity", "font-family", "font-size", "font-weight", "font-style", "stroke", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width",
    "text-anchor",
)  # fmt: skip
_DEFAULTS = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
"""The attributes that matplotlib's style sheet sets for all elements."""
_SEPARATE = ("defs", "title", "desc", "clipPath")
"""Elements that draw nothing at their own place."""


def compact_svg(content: bytes, name: str, title: str, alt: str, tips: Mapping[str, Sequence[str]]) -> str:
    """Returns one `<svg>` element as text; `tips` holds the tooltips of artists or of their markers, by gid."""
    root = ElementTree.fromstring(content)  # noqa: S314 - matplotlib has just written it
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.text = element.text if element.tag == "text" else None
        element.tail = None
    _remove(root, ("metadata", "style"))
    for element in list(root.iter()):
        if element.get("id") in tips:
            _add_tips(element, tips[element.get("id", "")])
    prefix = f"f{hashlib.sha256(name.encode()).hexdigest()[:4]}"
    _rename_ids(root, prefix)
    for element in root.iter():
        _plain_attributes(element)
    _draw_ticks(root)
    _simplify(root)
    for tag, text in (("desc", alt), ("title", title)):
        element = ElementTree.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(0, element)
    common = {"xmlns": _SVG, "role": "img", "aria-labelledby": f"{prefix}-title {prefix}-desc", "font-family": _FONT}
    root.attrib = {**common, **_DEFAULTS, **root.attrib}
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>") + "\n"


def _remove(element: Any, tags: Sequence[str]) -> None:
    for child in list(element):
        if child.tag in tags:
            element.remove(child)
        else:
            _remove(child, tags)


def _add_tips(element: Any, texts: Sequence[str]) -> None:
    """Adds its tooltip to an element, or one tooltip to each of its markers where there are several texts."""
    targets = [element] if len(texts) == 1 else list(element.iter("use"))
    for target, text in zip(targets, texts, strict=len(texts) > 1):
        title = ElementTree.Element("title")
        title.text = text
        target.insert(0, title)


def _rename_ids(root: Any, prefix: str) -> None:
    """Renames ids that are referred to as prefix and number, and removes all others."""
    used: dict[str, str] = {}
    for element in root.iter():
        if _XLINK in element.attrib:
            element.set("href", element.attrib.pop(_XLINK))
        targets = _REFERENCE.findall(" ".join(element.attrib.values()))
        targets += [element.get("href")[1:]] if "href" in element.attrib else []
        for target in targets:
            used.setdefault(target, f"{prefix}-{len(used)}")
    for element in root.iter():
        if "id" in element.attrib and element.get("id") not in used:
            del element.attrib["id"]
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set("id", used[value])
            elif key == "href":
                element.set("href", f"#{used[value[1:]]}")
            else:
                element.set(key, _REFERENCE.sub(lambda match: f"url(#{used[match[1]]})", value))


def _plain_attributes(element: Any) -> None:
    """Turns style declarations into attributes, rounds numbers, and drops fonts and rotations by 0."""
    for declaration in filter(str.strip, element.attrib.pop("style", "").split(";")):
        key, _, value = declaration.partition(":")
        if (key.strip(), value.strip()) not in _DEFAULTS.items() and key.strip() != "font-family":
            element.set(key.strip(), value.strip())
    for key, value in list(element.attrib.items()):
        if key not in ("id", "href"):
            element.set(key, _SPACES.sub(" ", _NUMBER.sub(_rounded, value)).strip())
    if "d" in element.attrib:
        element.set("d", _COMMAND.sub(r"\1", _STRAIGHT.sub(_short_line, element.get("d"))))
    transform = _NO_ROTATION.sub("", element.get("transform", "")).strip()
    if transform:
        element.set("transform", transform)
    else:
        element.attrib.pop("transform", None)


def _short_line(line: re.Match[str]) -> str:
    """Returns a horizontal or vertical line in the short form of a path."""
    x, y, to_x, to_y = line.groups()
    if x == to_x:
        return f"M{x} {y}V{to_y}"
    return f"M{x} {y}H{to_x}" if y == to_y else line[0]


def _draw_ticks(root: Any) -> None:
    """Draws ticks of a single stroke in place, which takes fewer bytes than a reference to a mark."""
    strokes = {}
    for element in root.iter("path"):
        found = _STROKE.match(element.get("d", ""))
        if found and "id" in element.attrib:
            strokes[f"#{element.get('id')}"] = (found[0].removeprefix("M0 0"), element)
    for element in root.iter("use"):
        if element.get("href") in strokes and not len(element):
            line, mark = strokes[element.get("href", "")]
            shape = {key: value for key, value in mark.attrib.items() if key not in ("id", "d")}
            element.tag = "path"
            element.attrib = {"d": f"M{element.get('x')} {element.get('y')}{line.lower()}", "fill": "none", **shape}


def _rounded(number: re.Match[str]) -> str:
    value = float(number[0])
    text = f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _simplify(element: Any) -> None:
    """Removes groups without attributes and moves attributes that all children share to their group, bottom up."""
    for child in list(element):
        _simplify(child)
    children = [grandchild for child in element for grandchild in _flattened(child)]
    for child in list(element):
        element.remove(child)
    element.extend(_grouped(children) if element.tag in ("g", "svg") else children)
    drawn = [child for child in element if child.tag not in _SEPARATE]
    if element.tag != "g" or len(drawn) < 2:
        return
    transformed = any("transform" in child.attrib for child in drawn)
    for key in (*_INHERITED, *(() if transformed else ("clip-path",))):
        values = {child.get(key) for child in drawn}
        if len(values) == 1 and None not in values and key not in element.attrib:
            element.set(key, drawn[0].get(key))
            for child in drawn:
                del child.attrib[key]


def _grouped(children: Sequence[Any]) -> Iterator[Any]:
    """Yields the children, neighbours of equal appearance in one group; if they are all lines, as one path."""
    for appearance, neighbours in groupby(children, _appearance):
        run = list(neighbours)
        if not appearance or len(run) < 2:
            yield from run
            continue
        group = ElementTree.Element("g", dict(appearance))
        for child in run:
            for key, _ in appearance:
                del child.attrib[key]
        if ("fill", "none") in appearance and all(child.tag == "path" and [*child.attrib] == ["d"] for child in run):
            group.tag = "path"
            group.set("d", "".join(child.get("d") for child in run))
        else:
            group.extend(run)
        yield group


def _appearance(element: Any) -> tuple[tuple[str, str], ...]:
    """Returns the attributes that an element may share with neighbours, none where it draws nothing at its place."""
    if element.tag in _SEPARATE:
        return ()
    keys = (*_INHERITED, *(() if "transform" in element.attrib else ("clip-path",)))
    return tuple((key, element.get(key)) for key in keys if key in element.attrib)


def _flattened(child: Any) -> Iterator[Any]:
    """Yields the children of a group that adds nothing, nothing for an empty group or path, else the element itself."""
    if (child.tag == "g" and not len(child)) or (child.tag == "path" and not _DRAWS.search(child.get("d", "L"))):
        return
    if child.tag == "g" and not child.attrib and not any(grandchild.tag == "title" for grandchild in child):
        yield from child
    else:
        yield child
