"""A gateway that cannot sign version reports."""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.uds.identity import EcuIdentity


class NoVersionReports:
    """See ``reporter.VersionReportMaker``."""

    can_sign = False

    @property
    def identities(self) -> Mapping[str, EcuIdentity]:
        return {}

    async def make(self, nonce: bytes, *, job_id: str | None = None) -> bytes:
        return b""
