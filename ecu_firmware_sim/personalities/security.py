"""SecurityAccess (27) of a bootloader: one or several levels, each with a rule of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from otabench.ecu_firmware_sim.personalities.personality import Level
from otabench.ecu_firmware_sim.personalities.refusal import Refused, sub_function
from otabench.ecu_firmware_sim.uds.codes import Nrc, Session


class SecurityAccess:
    """The levels of one ECU, all locked when this is made."""

    def __init__(
        self,
        levels: Mapping[int, Level],
        random_bytes: Callable[[int], bytes],
        *,
        key_for: Callable[[bytes, int], bytes] | None = None,
    ) -> None:
        self._levels = levels
        self._random_bytes = random_bytes
        self._key_for = key_for
        self._unlocked: set[int] = set()
        self._seeds: dict[int, bytes] = {}

    def has_unlocked(self, levels: Iterable[int]) -> bool:
        """Return whether all of the levels are unlocked."""
        return self._unlocked.issuperset(levels)

    def lock(self) -> None:
        """Lock all levels."""
        self._unlocked.clear()

    def answer(self, request: bytes, session: Session) -> bytes:
        """Return the positive response to 27. Raises Refused."""
        sub = sub_function(request)
        # A level has two sub-functions: requestSeed is the odd one, sendKey the even one behind it (ISO 14229-1).
        level = sub if sub % 2 else sub - 1
        rule = self._levels.get(level)
        if rule is None:
            raise Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        if session == Session.DEFAULT or (rule.session is not None and rule.session != session):
            raise Refused(Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)
        if sub % 2:
            return bytes((0x67, sub)) + self._new_seed(level, rule)
        seed = self._seeds.pop(level, None)
        if seed is None:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        key = bytes(each ^ rule.key_xor for each in seed) if self._key_for is None else self._key_for(seed, level)
        if request[2:] != key:
            raise Refused(Nrc.INVALID_KEY)
        self._unlocked.add(level)
        return bytes((0x67, sub))

    def _new_seed(self, level: int, rule: Level) -> bytes:
        if level in self._unlocked:
            return bytes(rule.seed_bytes)
        # A seed of zeros means "unlocked already", so that a real one must not be all zeros.
        self._seeds[level] = self._random_bytes(rule.seed_bytes - 1) + b"\x01"
        return self._seeds[level]
