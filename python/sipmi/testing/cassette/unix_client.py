"""A socket that asks a server over UNIX datagrams.

Servers answer from a second socket, so this one is bound and not connected. Its name cannot be guessed, and a datagram
counts only when the kernel says that it comes from the server's user or root.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
from typing import Optional

_CREDENTIALS = struct.Struct("3i")
"""Process, user, group: ``struct ucred``."""


class UnixClient:
    """A socket for requests to one server.

    :param path: of the server's socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind("\0sipmi_" + secrets.token_hex(16))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> UnixClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        """Sends a request.

        :raises OSError: there is no such socket, or no server reads it.
        """
        self._socket.sendto(request, self._path)

    def receive(self, size: int) -> Optional[bytes]:
        """Receive a datagram; None when it is not of the server."""
        datagram, control, _, _ = self._socket.recvmsg(size, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                user = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[1]
                return datagram if user in (0, os.stat(self._path).st_uid) else None
        return None
