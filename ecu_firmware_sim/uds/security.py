"""Service 27 SecurityAccess, level 01/02: a seed of 16 random bytes, and a key that the ECU's algorithm computes from it (a plug-in;
by default HMAC-SHA-256 of the seed with the ECU's secret).

Rules:

* While the ECU is unlocked, the seed is zero. A seed is valid for one attempt, and every request gets a new one.
* An attempt is counted in NVM before the key is compared, so that a power cut at the right moment does not give a free attempt.
* The third wrong key is answered with 36. Then requests for a seed are answered with 37 until the delay is over. A power-on before that
  starts the delay again.
* Keys are compared in constant time.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from otabench.ecu_firmware_sim.flash.nvm import MAX_SECURITY_ATTEMPTS
from otabench.ecu_firmware_sim.uds.codes import Nrc, Sid
from otabench.ecu_firmware_sim.uds.rules import NOT_DEFAULT, Negative, Request, Service, SubFunction
from otabench.proto import security_algorithm

SEED_BYTES: Final = 16
REQUEST_SEED: Final = 0x01
SEND_KEY: Final = 0x02
_HEADER_BYTES: Final = 2


def key_for(seed: bytes, secret: bytes) -> bytes:
    """Return the built-in algorithm's key."""
    return security_algorithm.hmac_sha256(seed, secret=secret, level=REQUEST_SEED)


def security_access(request: Request) -> bytes:
    return _request_seed(request) if request.sub_function == REQUEST_SEED else _send_key(request)


def _request_seed(request: Request) -> bytes:
    dialogue, nvm = request.dialogue, request.device.nvm
    # ISO 14229-1: a seed of zeros means that no key is needed.
    if dialogue.unlocked:
        return bytes((0x67, REQUEST_SEED)) + bytes(SEED_BYTES)
    if nvm.current.security_attempts >= MAX_SECURITY_ATTEMPTS:
        if request.now_s < dialogue.delay_until_s:
            raise Negative(Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED)
        # Only now, not when the delay ends: a power-on before the next request starts it again.
        nvm.update(security_attempts=0)
    dialogue.seed = secrets.token_bytes(SEED_BYTES)
    return bytes((0x67, REQUEST_SEED)) + dialogue.seed


def _send_key(request: Request) -> bytes:
    dialogue, nvm, algorithm = request.dialogue, request.device.nvm, request.device.security
    if algorithm.key_bytes is not None and len(request.data) != _HEADER_BYTES + algorithm.key_bytes:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    # Clear the seed before the comparison: a second key for the same seed is out of sequence, even if the first one was wrong.
    seed, dialogue.seed = dialogue.seed, None
    if seed is None:
        raise Negative(Nrc.REQUEST_SEQUENCE_ERROR)
    # Counted first: see the rules above.
    attempts = nvm.current.security_attempts + 1
    nvm.update(security_attempts=attempts)
    if not hmac.compare_digest(request.data[_HEADER_BYTES:], algorithm.key_for(seed, level=REQUEST_SEED)):
        if attempts < MAX_SECURITY_ATTEMPTS:
            raise Negative(Nrc.INVALID_KEY)
        dialogue.delay_until_s = request.now_s + request.device.timing.security_delay_s
        raise Negative(Nrc.EXCEEDED_NUMBER_OF_ATTEMPTS)
    nvm.update(security_attempts=0)
    dialogue.unlocked = True
    return bytes((0x67, SEND_KEY))


SERVICES: Final = {
    Sid.SECURITY_ACCESS: Service(
        security_access,
        NOT_DEFAULT,
        sub_functions={REQUEST_SEED: SubFunction(2), SEND_KEY: SubFunction(None)},
    )
}
