"""A gateway: a server that passes what it does not know itself to a real OpenSIPS of any generation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional, Union

from .client import Client
from .server import ForwardOptions, ListenOptions, Rights, Server, forward

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Rights", "forward", "make_gateway"]


def make_gateway(
    upstream: Union[str, Client],
    listen: Iterable[Union[str, tuple[str, ListenOptions]]] = (),
    *,
    name: str = "gateway",
    listen_options: Optional[ListenOptions] = None,
    **options: Unpack[ForwardOptions],
) -> Server:
    """Make a server that forwards all commands to an upstream, ready to run.

    :param upstream: whom it calls, as :func:`sipmi.connect` takes it, or a client of it.
    :param listen: where it listens: addresses, or pairs of an address and its options (see :meth:`Server.listen`).
    :param name: what its server is called.
    :param listen_options: options of every endpoint.
    :raises ValueError: an address or option cannot be read.

    :param options: those of :meth:`Server.forward`.

    >>> from sipmi.testing import FakeOpenSIPS
    >>> with FakeOpenSIPS("2.4") as opensips:
    ...     gateway = make_gateway(opensips.address("fifo"), ["http://127.0.0.1:0"], cache={"get_statistics": 1.0})
    ...     with gateway, connect(gateway.addresses[0]) as mi:
    ...         mi.call("get_statistics", ["rcv_requests"])
    {'core:rcv_requests': 0}
    """
    server = Server(name)
    server.forward(upstream, **options)
    for each in listen:
        address, own = (each, ListenOptions()) if isinstance(each, str) else each
        merged = ListenOptions()
        merged.update(listen_options or {})
        merged.update(own)
        server.listen(address, **merged)
    return server
