"""Bind listening ports, with errors that name the setting to change."""

from __future__ import annotations

import errno
import ipaddress
import socket

from otabench.cloud.errors import StartError


def bind_port(host: str, port: int, *, what: str) -> socket.socket:
    """Return a TCP socket that is bound to the port, but does not listen yet.

    Raises:
        StartError: the port is in use, or the host is not an address of this machine.
    """
    try:
        # getaddrinfo accepts names and IPv6 addresses, too.
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # Otherwise connections of a previous process in TIME_WAIT would block the port for a minute.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"{what}: port {port} on {host} is in use: end the process that uses it, or configure another port"
            ) from error
        raise StartError(f"{what}: cannot listen on {host}:{port}: {error.strerror or error}") from error
    return bound


def require_free_port(host: str, port: int, *, what: str) -> None:
    """Check a port that a library will bind itself. The library's own error would not name the setting.

    Raises:
        StartError: the port is in use, or the host is not an address of this machine.
    """
    bind_port(host, port, what=what).close()


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine's own address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
