"""A gateway that cannot sign version reports."""

from __future__ import annotations


class NoVersionReports:
    """See ``reporter.VersionReportMaker``."""

    can_sign = False

    async def make(self, nonce: bytes) -> bytes:
        return b""
