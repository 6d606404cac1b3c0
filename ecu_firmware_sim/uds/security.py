"""Service 27 SecurityAccess, level 01/02: seed of 16 random bytes; the key by the ECU's algorithm (a plug-in, by default
HMAC-SHA-256 of the seed with the ECU's secret).

Rules:

* Unlocked already: the seed is zero. A seed serves one attempt; a new one is made for every request.
* An attempt is counted in NVM before the key is compared, so that power cut at the right moment gives no free attempt.
* The third wrong key is answered with 36; then requests for a seed get 37 until the delay is over. The delay starts anew at
  every power-on as long as it was not served.
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
    if dialogue.unlocked:
        return bytes((0x67, REQUEST_SEED)) + bytes(SEED_BYTES)
    if nvm.current.security_attempts >= MAX_SECURITY_ATTEMPTS:
        if request.now_s < dialogue.delay_until_s:
            raise Negative(Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED)
        nvm.update(security_attempts=0)
    dialogue.seed = secrets.token_bytes(SEED_BYTES)
    return bytes((0x67, REQUEST_SEED)) + dialogue.seed


def _send_key(request: Request) -> bytes:
    dialogue, nvm, algorithm = request.dialogue, request.device.nvm, request.device.security
    if len(request.data) != _HEADER_BYTES + algorithm.key_bytes:
        raise Negative(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    seed, dialogue.seed = dialogue.seed, None
    if seed is None:
        raise Negative(Nrc.REQUEST_SEQUENCE_ERROR)
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
