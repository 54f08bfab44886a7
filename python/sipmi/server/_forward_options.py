"""The options of forwarding, listed once."""

# No postponed annotations: Python 3.9 cannot resolve those of a TypedDict that another one extends.

from collections.abc import Iterable, Mapping
from typing import Optional, Union

from .._numbers import CountFromZero
from ..client import ConnectOptions

#: Patterns of commands and ``"@read"``, by user, network or ``"*"``.
Rights = Mapping[str, Union[str, Iterable[str]]]


class ForwardOptions(ConnectOptions, total=False):
    """The options of :meth:`sipmi.Server.forward`, which describes them, and of the client of the upstream."""

    only: Union[str, Iterable[str]]
    queue: CountFromZero
    cache: Optional[Mapping[str, float]]
    rights: Optional[Rights]
    audit: bool
