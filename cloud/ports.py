"""Listening ports, with errors that name the setting to change."""

from __future__ import annotations

import errno
import socket

from otabench.cloud.errors import StartError


def bind_port(host: str, port: int, *, what: str) -> socket.socket:
    """Return a TCP socket that is bound to the port and does not listen yet.

    Raises:
        StartError: the port is taken, or the host is not this machine's.
    """
    try:
        # getaddrinfo, so that host may be a name or an IPv6 address.
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # Otherwise connections of the former process that are in TIME_WAIT would keep the port for a minute.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"{what}: port {port} on {host} is in use: end what uses it, or give another port"
            ) from error
        raise StartError(f"{what}: cannot listen on {host}:{port}: {error.strerror or error}") from error
    return bound


def require_free_port(host: str, port: int, *, what: str) -> None:
    """Check a port that a library will bind itself, because the library's error would not name the setting.

    Raises:
        StartError: the port is taken, or the host is not this machine's.
    """
    bind_port(host, port, what=what).close()
