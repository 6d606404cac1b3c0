"""Ports on loopback: find free ones, and report a required one that is in use.

Another program may take a free port before the bench uses it. The process that then cannot bind it reports that in its log, and the
launcher quotes the log.
"""

from __future__ import annotations

import errno
import socket

from otabench.bench.errors import BenchError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of loopback that are free now."""
    return _free(count, socket.SOCK_STREAM, LOOPBACK)


def free_udp_ports(count: int) -> list[int]:
    """Return different UDP ports that are free now, on any address."""
    return _free(count, socket.SOCK_DGRAM, "")


def _free(count: int, kind: socket.SocketKind, host: str) -> list[int]:
    # all are open at the same time: otherwise the kernel may return one port twice
    sockets = [socket.socket(type=kind) for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def require_free(port: int, *, purpose: str, remedy: str) -> None:
    """Check that the port is free.

    Raises:
        BenchError: it is in use, or this user may not use it.
    """
    with socket.socket() as probe:
        # a port whose last connections are in TIME_WAIT is free for the servers, which set this option too
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            why = (
                "is in use by another program or bench"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {error.strerror}"
            )
            raise BenchError(f"port {port} of {LOOPBACK} ({purpose}) {why}; {remedy}") from error


def is_listening(port: int, *, host: str = LOOPBACK, timeout_s: float = 0.5) -> bool:
    """Return whether a connection to the port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
