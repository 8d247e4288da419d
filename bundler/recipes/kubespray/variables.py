"""Kubespray's variables, evaluated as Ansible would: lazily, each when it is asked for, templates within templates.

What of Ansible is followed (ansible-core 2.16 to 2.18, lib/ansible/template/__init__.py): a template gives text; text
that reads as a dict, a list or a boolean is taken for one, a number is not; a lone `{{ name }}` keeps a number or a
boolean; None is an empty text; what is undefined may be asked for an attribute, and is an error when it is used.

A tree is not ours: templates run in Jinja's sandbox, reach no file and no code, and cannot nest or grow without end.
"""

from __future__ import annotations

import ast
import functools
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateError, UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import missing

from bundler.errors import ProfileError
from bundler.recipes.kubespray.sandbox import TEMPLATE_LIMIT, TEXT_LIMIT, Sandbox

_LONE_NAME = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
# What is not closed goes on to the end, and is looked at once; Jinja refuses it.
_LITERALS = re.compile(r"""("(?:[^"\\]|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))""", re.DOTALL)
_EXPRESSION = re.compile(r"\{\{.*?(?:\}\}|\Z)|\{%.*?(?:%\}|\Z)", re.DOTALL)
_DEEPEST = 60  # variables within variables
_SHOWN = 200  # characters of a template in a message
_MISSING = object()


class Variables(Mapping[str, Any]):
    """Variables by name; asking for one evaluates it.

    `layers` are mappings of raw values, the strongest first. Asking for what no layer has is a KeyError; a template
    that cannot be evaluated is a ProfileError that names the variable.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], origin: str) -> None:
        self._layers = layers
        self.origin = origin
        self._known: dict[str, Any] = {}
        self._open: list[str] = []
        self._environment = _environment(self)

    def raw(self, name: str) -> Any:
        """A variable as it is written."""
        for layer in self._layers:
            if name in layer:
                return layer[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(itertools.chain.from_iterable(reversed(self._layers))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            raw = self.raw(name)
            if name in self._open:
                self._refuse(f"{name} leads back to itself: {' → '.join((*self._open, name))}")
            if len(self._open) >= _DEEPEST:
                self._refuse(f"variables are nested more than {_DEEPEST} deep")
            self._open.append(name)
            try:
                self._known[name] = self.evaluate(raw)
            finally:
                self._open.pop()
        return self._known[name]

    def evaluate(self, value: Any) -> Any:
        """A raw value with every template in it evaluated. Raises ProfileError."""
        if not _has_template(value):
            return value
        if isinstance(value, str):
            return self._render(value)
        if isinstance(value, dict):
            return {self.evaluate(key): self.evaluate(inner) for key, inner in value.items()}
        return [self.evaluate(inner) for inner in value]

    def holds(self, condition: str) -> bool:
        """Whether a Jinja expression is true."""
        return bool(self.evaluate(f"{{{{ ({condition}) | bool }}}}"))

    def _render(self, text: str) -> Any:
        lone = _LONE_NAME.fullmatch(text.strip())
        if lone and lone[1] in self and isinstance(found := self[lone[1]], bool | int | float):
            return found
        shown = repr(text.strip()[:_SHOWN])
        try:
            result = self._rendered(text)
        except UndefinedError as error:
            self._refuse(f"{shown} uses what is not defined: {error.message}")
        except SecurityError as error:
            self._refuse(f"{shown} does what no variable should: {error}")
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            self._refuse(f"{shown} cannot be evaluated: {error}")
        except RecursionError:
            self._refuse(f"{shown} is nested too deep")
        return _literal(result)

    def _rendered(self, text: str) -> str:
        parts: list[str] = []
        length = 0
        for part in self._environment.from_string(_with_backslashes(text)).generate():
            parts.append(part)
            length += len(part)
            if length > TEXT_LIMIT:
                raise SecurityError(f"it grows beyond {TEXT_LIMIT} characters")
        return "".join(parts)

    def _refuse(self, why: str) -> NoReturn:
        within = f"{self._open[-1]}: " if self._open else ""
        raise ProfileError(
            f"{self.origin}: {within}{why[:500]}",
            hint="if it is a variable of yours, correct it under `kubespray: vars:`; if it is the tree's, its version "
            "is not one that this bundler can read",
        )


def _environment(variables: Variables) -> Sandbox:
    class Scope(Context):
        """A template's names: its own, then ours."""

        def resolve_or_missing(self, key: str) -> Any:
            found = super().resolve_or_missing(key)
            return variables[key] if key in variables and key not in self.vars else found

    def finalize(value: Any) -> Any:
        return "" if value is None else environment.weigh(value)

    environment = Sandbox(undefined=_Undefined, trim_blocks=True, keep_trailing_newline=True, finalize=finalize)
    environment.context_class = Scope
    for name in ("map", "reject", "rejectattr", "select", "selectattr", "unique"):
        environment.filters[name] = _listing(environment.filters[name])
    environment.filters.update(
        bool=_bool,
        combine=_combine,
        dict2items=_dict2items,
        split=_split,
        ternary=_ternary,
        d=environment.filters["default"],
    )
    environment.watch()
    environment.tests["version"] = _version
    environment.globals = {"lookup": _lookup, "range": environment.globals["range"]}
    return environment


class _Undefined(StrictUndefined):
    """What is undefined may be asked for more, as in `x.y.z is defined`, but not be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _key: Any) -> Any:
        return self


def _has_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, dict):
        return any(_has_template(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(_has_template, value))


def _with_backslashes(text: str) -> str:
    """A backslash within an expression's literal stands for itself, as in YAML, where Jinja takes it for an escape."""
    if "\\" not in text or len(text) > TEMPLATE_LIMIT:  # which is refused as a template
        return text
    return _EXPRESSION.sub(lambda code: _LITERALS.sub(lambda quoted: quoted[0].replace("\\", "\\\\"), code[0]), text)


def _literal(text: str) -> Any:
    """Text as Ansible reads it back."""
    if text in ("True", "False") or (text.startswith(("{", "[")) and not text.startswith(("{{", "{%"))):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    return text


# Filters, tests and lookups, as Ansible documents them


def _listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja's that gives a generator, as one that gives a list."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> list[Any]:
        return list(function(*arguments, **options))

    return call


def _bool(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    return str(value).lower() in ("yes", "on", "1", "true")


def _combine(first: Any, *more: Any, recursive: bool = False) -> dict[Any, Any]:
    result = dict(first)
    for other in more:
        for key, value in dict(other).items():
            both = recursive and isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = _combine(result[key], value, recursive=True) if both else value
    return result


def _dict2items(value: Mapping[Any, Any], key_name: str = "key", value_name: str = "value") -> list[dict[str, Any]]:
    return [{key_name: key, value_name: inner} for key, inner in value.items()]


def _split(value: str, separator: str | None = None) -> list[str]:
    return value.split(separator)


def _ternary(value: Any, true: Any, false: Any, none: Any = _MISSING) -> Any:
    if value is None and none is not _MISSING:
        return none
    return true if value else false


@pass_context
def _lookup(context: Context, plugin: str, *terms: Any, default: Any = _MISSING) -> Any:
    if plugin in ("env", "ansible.builtin.env"):
        return ""  # whose environment, is not known here
    if plugin not in ("vars", "ansible.builtin.vars"):
        raise SecurityError(f"the lookup {plugin!r} is not to be had here")
    found = []
    for term in terms:
        value = context.resolve_or_missing(str(term))
        if value is missing:
            if default is _MISSING:
                raise UndefinedError(f"{term} is not defined")
            value = default
        found.append(value)
    return found[0] if len(found) == 1 else found


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("==", "=", "eq"), operator.eq),
    **dict.fromkeys(("!=", "<>", "ne"), operator.ne),
    **dict.fromkeys(("<", "lt"), operator.lt),
    **dict.fromkeys(("<=", "le"), operator.le),
    **dict.fromkeys((">", "gt"), operator.gt),
    **dict.fromkeys((">=", "ge"), operator.ge),
}


def _version(value: Any, other: Any, operator: str = "eq") -> bool:
    """Compare as distutils' LooseVersion did, which Ansible still uses by default."""
    if operator not in _OPERATORS:
        raise ValueError(f"{operator!r} compares no versions")
    return _OPERATORS[operator](_loose(str(value)), _loose(str(other)))


def _loose(text: str) -> list[int | str]:
    parts = [part for part in re.split(r"(\d+|[a-z]+|\.)", text) if part and part != "."]
    return [int(part) if part.isdigit() else part for part in parts]
