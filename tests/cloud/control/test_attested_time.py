"""AttestTime: a vehicle receives the present time, signed with its nonce by the time key of the Director's Root."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names

from otabench.proto import ota_pb2, time_attestation
from otabench.proto.uptane import time_keys_of
from tests.cloud.bench import CALL_S, Cloud, Vehicle

NONCE = bytes(range(16))


def ask(cloud: Cloud, vehicle: Vehicle, nonce: bytes) -> bytes:
    request = ota_pb2.AttestTimeRequest(vin=vehicle.vin, nonce=nonce)
    return bytes(vehicle.control(cloud).AttestTime(request, timeout=CALL_S).attestation)


def test_the_time_is_attested_for_the_nonce(shared_cloud: Cloud, vehicle: Vehicle, keys_dir: Path) -> None:
    root = Metadata[Root].from_file(str(keys_dir / "director/root.json")).signed
    keys = time_keys_of(root.unrecognized_fields)
    assert keys is not None
    attested = time_attestation.verify(ask(shared_cloud, vehicle, NONCE), nonce=NONCE, keys=keys)
    assert abs(attested - time.time()) < CALL_S


@pytest.mark.parametrize("nonce", [b"", bytes(15), bytes(1000)])
def test_another_nonce_is_refused_by_name(shared_cloud: Cloud, vehicle: Vehicle, nonce: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(shared_cloud, vehicle, nonce)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "nonce" in str(refused.value.details())
