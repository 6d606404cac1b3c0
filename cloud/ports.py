"""Listening ports: bound once, with an error that says which setting to change."""

from __future__ import annotations

import errno
import socket

from otabench.cloud.errors import StartError


def bind_port(host: str, port: int, *, what: str) -> socket.socket:
    """A TCP socket bound to that port, not listening yet.

    Raises:
        StartError: the port is taken, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
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
    """Checks a port that a library will bind itself, for an error in our words.

    Raises:
        StartError: as ``bind_port``.
    """
    bind_port(host, port, what=what).close()
