"""YAML that people write, against a pydantic model: every error says where it stands and what was expected."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bundler import yaml_bounds
from bundler.errors import BundlerError
from bundler.limits import LimitExceeded

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 10


def parse(
    text: str, model: type[Model], source: str, error: type[BundlerError], *, changes: Mapping[str, str] | None = None
) -> Model:
    """`text` as `model`; `changes` are values set by dotted key before it is checked, as YAML (`--set`).

    Raises `error`, whose message has a line for each thing that is wrong: `source:LINE: key: what was expected`.
    """
    try:
        yaml_bounds.check(text)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        tree = yaml.load(text, Loader=_UniqueKeys) if node is not None else {}  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as problem:
        # PyYAML says it on several lines.
        raise error(f"{source}: not YAML: {' '.join(str(problem).split())}", hint="fix the line it names") from None
    except LimitExceeded as exceeded:
        raise exceeded.of(error, source) from None
    for key, value in (changes or {}).items():
        _set(tree, key, value, error)
    try:
        return model.model_validate(tree)
    except ValidationError as problems:
        found = problems.errors(include_url=False)
        # `--set version=2.10` means the text: where one is expected, what was typed counts, not YAML's number.
        texts = {".".join(map(str, problem["loc"])) for problem in found if problem["type"] == "string_type"}
        typed = {key: json.dumps(value) for key, value in (changes or {}).items() if key in texts}
        if typed:
            return parse(text, model, source, error, changes={**(changes or {}), **typed})
        lines = [_describe(problem, node, model, source) for problem in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"… and {len(found) - _SHOWN} more")
        raise error(*lines, hint=_hint(source)) from None


def _hint(source: str) -> str:
    return f"fix {source}; `bundler profiles schema` prints what a profile may say"


class _UniqueKeys(yaml.CSafeLoader):
    """A SafeLoader that refuses a key given twice, where PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be a word", key_node.start_mark)
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _set(tree: Any, key: str, value: str, error: type[BundlerError]) -> None:
    """Set `key` (`rpms.repos.0.url`) in `tree`, making mappings on the way."""
    *way, last = key.split(".")
    place = tree
    try:
        yaml_bounds.check(value)
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(value)
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError, LimitExceeded):
        raise error(
            f"--set {key}={value}: there is no such place",
            hint="give the way by keys and list positions from 0: rpms.repos.0.url",
        ) from None


def _describe(problem: Any, node: yaml.Node | None, model: type[BaseModel], source: str) -> str:
    place, line = _locate(node, problem["loc"])
    message: str = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys(model, place[:-1]))
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        message = (
            "unknown key; " + (f"did you mean {close[0]!r}? " if close else "") + f"expected one of {', '.join(known)}"
        )
    elif problem["type"] != "missing" and not isinstance(problem["input"], dict | list):
        message += f", got {problem['input']!r}"
    where = f"{source}:{line}" if line else source
    return f"{where}: {'.'.join(str(part) for part in place) or 'the document'}: {message}"


def _locate(node: yaml.Node | None, loc: Sequence[int | str]) -> tuple[list[int | str], int | None]:
    """The part of `loc` that stands in the document (pydantic adds names of union members), and its line."""
    place: list[int | str] = []
    line = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None and part != loc[-1]:
                continue
            place.append(part)
            if entry is None:
                return place, line or node.start_mark.line + 1
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode):
            if isinstance(part, int) and 0 <= part < len(node.value):
                place.append(part)
                node = node.value[part]
                line = node.start_mark.line + 1
        elif node is None:
            place.append(part)
    return place, line


def _keys(model: Any, place: Sequence[int | str]) -> set[str]:
    """The keys that a mapping at `place` may have."""
    models = _models(model)
    for part in place:
        if isinstance(part, str):
            fields = [field for m in models for key, field in m.model_fields.items() if part in (key, field.alias)]
            models = [found for field in fields for found in _models(field.annotation)]
    return {field.alias or key for m in models for key, field in m.model_fields.items() if key != "root"}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that `annotation` may hold, through unions, lists and root models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if "root" in annotation.model_fields:
            return _models(annotation.model_fields["root"].annotation)
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [found for argument in typing.get_args(annotation) for found in _models(argument)]
    return []
