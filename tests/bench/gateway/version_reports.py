"""A gateway that cannot sign version reports."""

from __future__ import annotations


class NoVersionReports:
    """See ``reporter.VersionReportMaker``."""

    can_sign = False

    async def make(self, nonce: bytes, *, job_id: str | None = None) -> bytes:
        return b""
