"""The parameters of a handler, read from its signature."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Union

if TYPE_CHECKING:
    from .._core import _Described


_PASSING: dict[Any, str] = {
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_POSITIONAL: "rest",
}
_KINDS: dict[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    list: "list",
    tuple: "list",
    dict: "dict",
    bytes: "str",
}
#: Made once: `json.dumps` would make another for each value.
_ENCODER = json.JSONEncoder(allow_nan=False)
_BUILTINS = {kind.__name__: kind for kind in _KINDS}
#: From 3.14 on, annotations are evaluated when they are read (PEP 649); a missing name is kept as a reference.
_HINTS: dict[str, Any] = {}
_SIGNATURE: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _HINTS["format"] = _SIGNATURE["annotation_format"] = Format.FORWARDREF


def describe_parameters(function: Callable[..., Any]) -> tuple[list[_Described], bool]:
    """Describe the parameters of a handler for the core, and return whether it takes any name.

    >>> describe_parameters(lambda user, credit=0.5: None)
    ([('user', 'any', False, True, 'either', None, '[]'),
      ('credit', 'any', False, False, 'either', '0.5', '[]')], False)
    """
    hints = hints_of(function)
    described: list[_Described] = []
    any_name = False
    for parameter in inspect.signature(function, **_SIGNATURE).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            any_name = True
            continue
        annotation = hints.get(parameter.name, parameter.annotation)
        kind, nullable = _kind_of(annotation)
        passing = _PASSING.get(parameter.kind, "either")
        required = parameter.default is parameter.empty and passing != "rest"
        nullable = nullable or parameter.default is None
        default = None if required or passing == "rest" else _as_json(parameter.default)
        choices = _as_json(_choices_of(annotation)) or "[]"
        described.append((parameter.name, kind, nullable, required, passing, default, choices))
    return described, any_name


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a function; none when one cannot be resolved."""
    with contextlib.suppress(Exception):
        if getattr(function, "__annotations__", True):
            return typing.get_type_hints(function, **_HINTS)
    return {}


def _kind_of(annotation: Any) -> tuple[str, bool]:
    """Return the kind of an annotation, and whether it takes None."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        kinds = [argument for argument in arguments if argument is not type(None)]
        nullable = len(kinds) < len(arguments)
        return (_kind_of(kinds[0])[0] if len(kinds) == 1 else "any"), nullable
    if origin is Literal:
        types = {_KINDS.get(type(argument), "any") for argument in arguments if argument is not None}
        return (types.pop() if len(types) == 1 else "any"), None in arguments
    if origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, Iterable) and origin is not dict):
        inner = _kind_of(arguments[0])[0] if arguments else "any"
        return f"list[{inner}]", False
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "dict", False
    if isinstance(annotation, str):  # some other annotation could not be resolved, so none was
        annotation = _BUILTINS.get(annotation)
    try:
        return _KINDS.get(annotation, "any"), False
    except TypeError:  # an annotation that is not hashable
        return "any", False


def _choices_of(annotation: Any) -> list[Any]:
    """Return the values of a ``Literal``; none for any other annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return [argument for argument in arguments if argument is not None]
    if origin is Union or type(annotation).__name__ == "UnionType":
        kinds = [argument for argument in arguments if argument is not type(None)]
        return _choices_of(kinds[0]) if len(kinds) == 1 else []
    return []


def _as_json(value: Any) -> Optional[str]:
    """Encode a value as JSON text; None when it cannot be encoded."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return None


def first_line(doc: Optional[str]) -> str:
    """Return the first line of a docstring that is not blank."""
    return next((line.strip() for line in (doc or "").splitlines() if line.strip()), "")


def is_awaited(function: Callable[..., Any]) -> bool:
    """Return whether the result of a function must be awaited."""
    if type(function) is types.FunctionType:
        return bool(function.__code__.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
    call = getattr(function, "__call__", None)  # noqa: B004  (an object whose __call__ is a coroutine)
    checks = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(check(function) or check(call) for check in checks)
