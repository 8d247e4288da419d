"""Jinja's sandbox, in which a template of others cannot make much out of little, in time or in memory.

Jinja has no limits of its own but for `range`. Here all that makes something is weighed: values that filters, calls,
operators and literals make, and every round of a loop. What they weigh together comes out of one budget.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes, pass_environment
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.filters import do_round, make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Kubespray's own take a six-hundredth of it, and some hundred characters.
_BUDGET = 8_000_000
TEMPLATE_LIMIT = 16 << 10  # characters
TEXT_LIMIT = 1 << 20
_CHARACTERS = 16  # that weigh as much as a number
_CALL = 1000  # what one takes, were it of a macro that does nothing
_HEAVIEST = TEXT_LIMIT // _CHARACTERS
_BITS = 1024
_PRECISION = 30
# Filters that pad, indent, format or repeat, or reach further than a name does, are left out.
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "format", "groupby"),
    *("int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "trim"),
    *("unique", "upper", "urlencode", "wordcount"),
)
_TEXT_METHODS = (
    *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit"),
    *("islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition", "removeprefix"),
    *("removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
    *("startswith", "strip", "swapcase", "title", "upper"),
)
_METHODS: tuple[tuple[Any, frozenset[str]], ...] = (
    (str, frozenset(_TEXT_METHODS)),
    (Mapping, frozenset(("get", "items", "keys", "values"))),
    ((list, tuple), frozenset(("count", "index"))),
    ((int, float, complex, bytes, range, set, frozenset), frozenset()),
)
_WIDTH = re.compile(r"%[^%a-zA-Z]*?(\*|[0-9]{4})")
_NAME = re.compile(r"%\([^)]*\)")


class Sandbox(ImmutableSandboxedEnvironment):
    """One for all templates of a tree, which share its budget.

    Whatever exceeds it, or does what no variable should, raises SecurityError.
    """

    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._left = _BUDGET
        self._round = 1
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters.update(format=_format, join=_join, replace=_replace, round=_round)

    def watch(self) -> None:
        """Weigh what the filters of now take and give."""
        self.filters = {name: self._weighing(function) for name, function in self.filters.items()}
        self.filters.update({"~": _concat, " weigh": self.weigh, " rounds": self._rounds})

    def weigh(self, value: Any) -> Any:
        """`value`, once it is taken from the budget."""
        weight = _weight(value)
        self._spend(weight)
        return value

    def _spend(self, weight: int) -> None:
        self._left -= weight
        if self._left < 0:
            raise SecurityError("it takes more steps, or makes more, than all variables of a tree together may")

    def _weighing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            for argument in (*arguments, *options.values()):
                self.weigh(argument)
            return self.weigh(function(*arguments, **options))

        return call

    def _rounds(self, values: Iterable[Any]) -> Iterator[Any]:
        """`values`, one for each round of a loop, each of which may give all of the template's text again."""
        for value in values:
            self._spend(self._round)
            yield value

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        _watch(source, self)
        return str(super()._generate(source, name, filename, defer_init))

    def compile(self, source: Any, *arguments: Any, **options: Any) -> Any:
        """As Jinja's. Raises SecurityError for a template that is too long to be one of variables."""
        if len(source) > TEMPLATE_LIMIT:
            raise SecurityError(f"it exceeds the limit of {TEMPLATE_LIMIT} characters for a template")
        self._round = max(self._round, 1 + len(source) // _CHARACTERS)
        return super().compile(source, *arguments, **options)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for types, allowed in _METHODS:
            if isinstance(obj, types):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is not to be had: nothing bounds its widths."""

    def call(self, context: Any, function: Any, /, *arguments: Any, **options: Any) -> Any:
        self._spend(_CALL + self._round)
        for argument in (*arguments, *options.values()):
            self.weigh(argument)
        text = getattr(function, "__self__", None)
        if isinstance(text, str) and function.__name__ == "replace":
            return _replace(text, *arguments)
        if isinstance(text, str) and function.__name__ == "join":
            return _join(self, arguments[0], text)
        return self.weigh(super().call(context, function, *arguments, **options))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "%" and isinstance(left, str):
            return _format(left, *(right if isinstance(right, tuple) else (right,)))
        if operator == "**" or (operator == "*" and not numbers):
            raise SecurityError(f"the operator {operator} is for numbers, and ** for none")
        if operator == "*" and sum(number.bit_length() for number in (left, right) if isinstance(number, int)) > _BITS:
            raise SecurityError(f"a number has more than {_BITS} bits")
        if operator == "+" and not numbers:
            _bound(_weight(left) + _weight(right))
        return super().call_binop(context, operator, left, right)


def _weight(value: Any) -> int:
    """How much a value is, all of its parts written out. Raises SecurityError when that is more than any may be."""
    weight, parts = 0, [value]
    while parts:
        part = parts.pop()
        weight += 1
        if isinstance(part, str | bytes):
            weight += len(part) // _CHARACTERS
        elif isinstance(part, dict):
            parts += (*part.keys(), *part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            parts += part
        elif isinstance(part, range):
            weight += len(part)
        _bound(weight + len(parts))
    return weight


def _bound(weight: int) -> None:
    if weight > _HEAVIEST:
        raise SecurityError(f"it grows beyond {TEXT_LIMIT} characters")


def _watch(node: nodes.Node, environment: Environment) -> None:
    """See that all that the node's parts make goes through one of the filters that weigh."""
    for field, inner in node.iter_fields():
        if isinstance(inner, list):
            inner[:] = [_replaced(each, environment) if isinstance(each, nodes.Node) else each for each in inner]
        elif isinstance(inner, nodes.Node):
            setattr(node, field, _replaced(inner, environment))
    if isinstance(node, nodes.For):
        if node.recursive:
            raise SecurityError("loops that call themselves are not to be had here")
        node.iter = _filtered(node.iter, " rounds", environment)


def _replaced(node: nodes.Node, environment: Environment) -> nodes.Node:
    _watch(node, environment)
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "~", environment)
    if isinstance(node, nodes.List | nodes.Dict | nodes.Tuple) and getattr(node, "ctx", "load") == "load":
        return _filtered(node, " weigh", environment)
    return node


def _filtered(node: nodes.Node, name: str, environment: Environment) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
    made.set_environment(environment)
    return made


# Filters that make more of what they are given


def _concat(parts: Iterable[Any]) -> str:
    parts = list(parts)
    _weight(parts)
    return "".join(map(str, parts))


@pass_environment
def _join(environment: Environment, values: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    parts = list(values if attribute is None else map(make_attrgetter(environment, attribute), values))
    _bound(_weight(parts) + len(parts) * (len(str(d)) // _CHARACTERS))
    return str(d).join(map(str, parts))


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    text = str(text)
    found = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    _bound((len(text) + found * len(new)) // _CHARACTERS)
    return str(text.replace(old, new, found))


def _format(text: Any, *arguments: Any, **named: Any) -> str:
    text = str(text)
    if _WIDTH.search(_NAME.sub("%", text)):
        raise SecurityError("a width of more than three digits")
    _bound(text.count("%") * _weight([arguments, named]))
    lone = len(arguments) == 1 and isinstance(arguments[0], Mapping)
    return str(text % (named or (arguments[0] if lone else arguments)))


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > _PRECISION:
        raise SecurityError(f"a precision of more than {_PRECISION} digits")
    return do_round(value, precision, method)  # type: ignore[arg-type]
