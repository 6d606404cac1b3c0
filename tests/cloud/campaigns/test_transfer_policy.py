"""Whether a patch goes into the manifest."""

from __future__ import annotations

import pytest

from otabench.cloud.campaigns.transfer_policy import TransferPolicy, patch_is_kept


@pytest.mark.parametrize(
    ("policy", "patch_bytes", "kept"),
    [
        (TransferPolicy.AUTO, 699, True),
        (TransferPolicy.AUTO, 700, False),
        (TransferPolicy.AUTO, 1500, False),
        (TransferPolicy.DELTA, 1500, True),
        (TransferPolicy.FULL, 1, False),
    ],
)
def test_a_patch_is_kept_where_it_pays_or_is_demanded(policy: TransferPolicy, patch_bytes: int, kept: bool) -> None:
    assert patch_is_kept(policy, patch_bytes=patch_bytes, image_bytes=1000) is kept
