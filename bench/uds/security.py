"""Security access (service 27): request a seed, send the key.

This module also waits while the ECU delays after wrong keys, and starts again after lost messages. The algorithm that turns a seed into a
key is in ``proto.security_algorithm``. The sub-functions are in the flash profile.
"""

from __future__ import annotations

from typing import Final, Protocol

from otabench.bench.deadline import Deadline
from otabench.bench.uds import answers
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import EcuLost, EcuRefused, FlashError
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.wire import Wire
from otabench.proto import security_algorithm
from otabench.proto.security_algorithm import AlgorithmError

_DELAY_POLL_INTERVAL_S: Final = 0.5


class _Request(Protocol):
    def __call__(self, payload: bytes, *, step: str, may_repeat: bool = False) -> bytes: ...


class SecurityAccess:
    """Unlocks one ECU (service 27).

    Args:
        endpoint: the ECU's algorithm and secret.
        profile: levels, and how long to wait for the ECU's delay.
        request: ``EcuClient.request``.
        wire: the connection; read for responses that no request waits for.
    """

    def __init__(self, endpoint: EcuEndpoint, profile: Profile, *, request: _Request, wire: Wire) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._request = request
        self._wire = wire

    def unlock(self) -> None:
        """See ``EcuClient.unlock``."""
        repeats = self._profile.timing.request_repeats
        while True:
            try:
                self._unlock()
                return
            except (EcuLost, EcuRefused) as error:
                if repeats == 0 or not self._needs_new_seed(error):
                    raise
            repeats -= 1
            # Send 3E 00 first. Once it is answered, a late seed of the previous attempt has arrived too, and the next request drops
            # it. Otherwise it would be taken for the new seed, and the key made from it would be wrong.
            self._request(b"\x3e\x00", step="3E 00 tester present", may_repeat=True)

    def _needs_new_seed(self, error: EcuLost | EcuRefused) -> bool:
        if isinstance(error, EcuLost):
            return error.nrc is None  # with an NRC the ECU answered 78 until the time was over: it is not silent
        # If the ECU received the seed request twice, it made a second seed, but our key was made from the first.
        came_twice = self._wire.skipped_response[:2] == bytes((0x67, self._profile.security.request_seed))
        return error.nrc == answers.INVALID_KEY and came_twice

    def _unlock(self) -> None:
        seed = self._request_seed()
        if not any(seed):
            # A seed of zeros means that the ECU is unlocked already (ISO 14229-1, service 27).
            return
        step = f"27 {self._profile.security.send_key:02X} send key"
        self._request(bytes((0x27, self._profile.security.send_key)) + self._key_for(seed, step), step=step)

    def _request_seed(self) -> bytes:
        """Return the seed. Repeat the request while the ECU delays after wrong keys (NRC 37)."""
        security = self._profile.security
        deadline = Deadline(security.max_delay_s)
        step = f"27 {security.request_seed:02X} request seed"
        while True:
            try:
                answer = self._request(bytes((0x27, security.request_seed)), step=step)
                break
            except EcuRefused as error:
                is_delay = error.nrc == answers.REQUIRED_TIME_DELAY_NOT_EXPIRED
                if not is_delay or deadline.remaining_s() < _DELAY_POLL_INTERVAL_S:
                    raise
            # The ECU does not report how long its delay lasts (ISO 14229-1), so ask again from time to time.
            deadline.pause(_DELAY_POLL_INTERVAL_S)
        # If the request arrived twice, the ECU has sent two seeds. Only the last one is valid.
        seeds = [late for late in self._wire.take_pending() if late[:2] == answer[:2]]
        return (seeds or [answer])[-1][2:]

    def _key_for(self, seed: bytes, step: str) -> bytes:
        endpoint = self._endpoint
        try:
            algorithm = security_algorithm.load(
                endpoint.security_algorithm, secret=bytes.fromhex(endpoint.security_secret)
            )
            return algorithm.key_for(seed, level=self._profile.security.request_seed)
        except AlgorithmError as error:
            raise FlashError(str(error), ecu=endpoint.name, step=step) from error
