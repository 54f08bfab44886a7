"""Options as keywords: a ``TypedDict`` lists them once, for type checkers and for the check at run time."""

from __future__ import annotations

import collections.abc
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ._numbers import Range


def check_options(function: str, options: Mapping[str, Any], kinds: type, *, also: Iterable[str] = ()) -> None:
    """Check the names and types of keyword options, and the ranges of numbers.

    :param function: the name of the function for messages.
    :param kinds: the ``TypedDict`` of the options.
    :param also: other keyword arguments of the function, for the nearest name.
    :raises TypeError: an option has an unknown name, or a value of another type.
    :raises ValueError: a number is out of range.

    >>> from sipmi.client import ConnectOptions
    >>> check_options("connect()", {"timeout": 2, "token": None}, ConnectOptions)
    >>> check_options("connect()", {"wrie": "text"}, ConnectOptions)
    Traceback (most recent call last):
    ...
    TypeError: connect(): unknown option 'wrie' (did you mean 'wire'?)
    >>> check_options("connect()", {"timeout": "5"}, ConnectOptions)
    Traceback (most recent call last):
    ...
    TypeError: connect(): expected timeout of type float, got str
    """
    known = _types_of(kinds)
    for name, value in options.items():
        if name not in known:
            raise TypeError(unknown_option(function, name, [*known, *also]))
        check_option(function, name, value, known[name])


def check_option(function: str, name: str, value: Any, kind: Any) -> None:
    """Check the type of one option, and the range of a number.

    :param kind: the type, for numbers one of ``_numbers``.
    :raises TypeError: the value has another type.
    :raises ValueError: the number is out of range.
    """
    if not _fits(value, kind):
        raise TypeError(f"{function}: expected {name} of type {_name_of(kind)}, got {type(value).__name__}")
    for allowed in _ranges_of(kind, value):
        if value not in allowed:
            raise ValueError(f"{function}: {allowed.refusal(name, value)}")


def unknown_option(function: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an option that does not exist, with the nearest name that does."""
    import difflib

    nearest = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(sorted(known))}"
    return f"{function}: unknown option {name!r} ({hint})"


@functools.cache
def _types_of(kinds: type) -> dict[str, Any]:
    return get_type_hints(kinds, include_extras=True)


def _ranges_of(kind: Any, value: Any) -> Iterator[Range]:
    """Yield the ranges that hold for a value of a type."""
    if get_origin(kind) is Annotated:
        number, *notes = get_args(kind)
        yield from (note for note in notes if isinstance(note, Range) and _fits(value, number))
    elif get_origin(kind) is Union:
        for argument in get_args(kind):
            yield from _ranges_of(argument, value)


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin is Union:
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if kind is float:
        return (hasattr(value, "__float__") or hasattr(value, "__index__")) and not isinstance(value, bool)
    if kind is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    if origin is tuple and arguments[-1] is Ellipsis:
        return isinstance(value, (tuple, list)) and all(_fits(item, arguments[0]) for item in value)
    if origin is tuple:
        is_pair = isinstance(value, (tuple, list)) and len(value) == len(arguments)
        return is_pair and all(_fits(item, argument) for item, argument in zip(value, arguments))
    if origin is collections.abc.Callable:
        return callable(value)
    # A str is a sequence of str as well, but never meant as one.
    is_str_as_list = isinstance(value, str) and origin in (collections.abc.Iterable, collections.abc.Sequence)
    return isinstance(value, origin or kind) and not is_str_as_list


def _name_of(kind: Any) -> str:
    """Return a type as a message shows it.

    >>> from typing import Mapping, Optional
    >>> _name_of(Optional[int]), _name_of(Union[str, tuple[str, str]]), _name_of(Mapping[str, float])
    ('int or None', 'str or tuple[str, str]', 'Mapping[str, float]')
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:
        return " or ".join(_name_of(argument) for argument in arguments)
    if kind is type(None):
        return "None"
    if kind is Ellipsis:
        return "..."
    if kind is Any:
        return "Any"
    if origin is Annotated:
        return _name_of(arguments[0])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    name: str = getattr(origin or kind, "__name__", str(kind))
    if arguments and origin is not collections.abc.Callable:
        return f"{name}[{', '.join(_name_of(argument) for argument in arguments)}]"
    return name
