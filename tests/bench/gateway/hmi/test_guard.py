"""Who may talk to the HMI: another site's page, by its own name or by rebinding it, may not."""

from __future__ import annotations

import pytest

from otabench.bench.gateway.hmi.guard import foreign_host, foreign_origin


@pytest.mark.parametrize(
    ("host", "local_address"),
    [
        ("localhost", "127.0.0.1"),
        ("localhost:8080", "127.0.0.1"),
        ("LOCALHOST:8080", "10.0.2.15"),
        ("127.0.0.1:9999", "10.0.2.15"),  # through a forwarded port
        ("[::1]:8080", "::1"),
        ("192.168.7.2:8080", "192.168.7.2"),
        ("[fe80::2]:8080", "fe80::2"),
    ],
)
def test_own_hosts_are_let_in(host: str, local_address: str) -> None:
    assert not foreign_host(host, local_address=local_address)


@pytest.mark.parametrize(
    ("host", "local_address"),
    [
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
        ("evil.example:8080", "127.0.0.1"),  # DNS rebinding: the browser connects here, and names the other site
        ("evil.example", "evil.example"),  # a server that does not know its address believes no name
        ("localhost.evil.example", "127.0.0.1"),
        ("127.0.0.1.evil.example", "127.0.0.1"),
        ("192.168.7.3:8080", "192.168.7.2"),
        ("192.168.7.3:8080", None),
        ("user@localhost", "127.0.0.1"),
        ("localhost:port", "127.0.0.1"),
        ("localhost/x", "127.0.0.1"),
        ("[::1", "::1"),
    ],
)
def test_foreign_hosts_are_refused(host: str | None, local_address: str | None) -> None:
    assert foreign_host(host, local_address=local_address)


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        (None, None),
        ("http://localhost:8080", None),
        ("http://localhost:8080", "same-origin"),
        ("http://LocalHost:8080", None),
    ],
)
def test_own_page_and_plain_clients_may_decide(origin: str | None, fetch_site: str | None) -> None:
    assert not foreign_origin(origin, fetch_site, host_header="localhost:8080")


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("http://evil.example", None),
        ("http://localhost:9090", None),
        ("http://localhost:8080.evil.example", None),
        ("null", None),
        ("", None),
        ("file://localhost:8080", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://localhost:8080", "cross-site"),
    ],
)
def test_other_sites_may_not_decide(origin: str | None, fetch_site: str | None) -> None:
    assert foreign_origin(origin, fetch_site, host_header="localhost:8080")
