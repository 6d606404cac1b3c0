"""The rules that every request must pass before its service is called, in the standard's order. Each returns an NRC or None.

Order (ISO 14229-1, general server response behaviour): service supported 11, service in this session 7F, security 33, length 13,
sub-function supported 12, sub-function in this session 7E, its length 13. The rules that follow (sequence, conditions, range) differ
by service and are in its module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.uds.codes import SUPPRESS_POSITIVE_RESPONSE, Nrc, Session
from otabench.ecu_firmware_sim.uds.state import Device, Dialogue

ALL_SESSIONS: Final = frozenset(Session)
NOT_DEFAULT: Final = frozenset({Session.PROGRAMMING, Session.EXTENDED})
ONLY_PROGRAMMING: Final = frozenset({Session.PROGRAMMING})


class Negative(Exception):
    """A request that is answered negatively.

    Attributes:
        nrc: the negative response code.
    """

    def __init__(self, nrc: Nrc) -> None:
        super().__init__(f"{nrc:02X} {nrc.name}")
        self.nrc = nrc


@dataclass(frozen=True)
class Later:
    """A response that may take longer than P2. ``work`` returns it, or raises as a service does."""

    work: Callable[[], bytes]


@dataclass(frozen=True)
class Request:
    """A request within a dialogue, physical or functional."""

    data: bytes
    now_s: float
    device: Device
    dialogue: Dialogue

    @property
    def sub_function(self) -> int:
        return self.data[1] & ~SUPPRESS_POSITIVE_RESPONSE


@dataclass(frozen=True)
class SubFunction:
    """One sub-function. ``length``: of the whole request in bytes; None where the service checks it."""

    length: int | None
    sessions: frozenset[Session] = ALL_SESSIONS


@dataclass(frozen=True)
class Service:
    """One service: its rules, and the function that performs it. Lengths are of the whole request in bytes."""

    perform: Callable[[Request], bytes | Later]
    sessions: frozenset[Session] = ALL_SESSIONS
    unlocked: bool = False
    shortest: int = 1
    longest: int = 4095
    sub_functions: Mapping[int, SubFunction] | None = None


Services = Mapping[int, Service]
Rule = Callable[[Request, Service], Nrc | None]


# Each rule may rely on the ones before it: a sub-function is looked up only once it is known to be supported.


def service_allowed_in_session(request: Request, service: Service) -> Nrc | None:
    if request.dialogue.session not in service.sessions:
        return Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION
    return None


def service_allowed_while_locked(request: Request, service: Service) -> Nrc | None:
    is_programmed = request.dialogue.session is Session.PROGRAMMING
    is_kept_locked = is_programmed and request.data[0] in request.device.locked_services
    if (service.unlocked or is_kept_locked) and not request.dialogue.unlocked:
        return Nrc.SECURITY_ACCESS_DENIED
    return None


def length_fits_service(request: Request, service: Service) -> Nrc | None:
    # Where a service has sub-functions, the next rules read the second byte.
    shortest = max(service.shortest, 2 if service.sub_functions is not None else 1)
    if not shortest <= len(request.data) <= service.longest:
        return Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
    return None


def sub_function_supported(request: Request, service: Service) -> Nrc | None:
    if service.sub_functions is not None and request.sub_function not in service.sub_functions:
        return Nrc.SUB_FUNCTION_NOT_SUPPORTED
    return None


def sub_function_allowed_in_session(request: Request, service: Service) -> Nrc | None:
    if service.sub_functions is None:
        return None
    if request.dialogue.session not in service.sub_functions[request.sub_function].sessions:
        return Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION
    return None


def length_fits_sub_function(request: Request, service: Service) -> Nrc | None:
    if service.sub_functions is None:
        return None
    length = service.sub_functions[request.sub_function].length
    if length is not None and len(request.data) != length:
        return Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT
    return None


# The order matters: where two rules are broken, the tester must get the NRC that the standard puts first.
RULES: Final[tuple[Rule, ...]] = (
    service_allowed_in_session,
    service_allowed_while_locked,
    length_fits_service,
    sub_function_supported,
    sub_function_allowed_in_session,
    length_fits_sub_function,
)


def judge(request: Request, services: Services) -> Service | Nrc:
    """Return the service that is to perform the request, or the NRC with which it is refused."""
    # The first rule of all, and not among RULES, because the others need the service.
    service = services.get(request.data[0])
    if service is None:
        return Nrc.SERVICE_NOT_SUPPORTED
    for rule in RULES:
        nrc = rule(request, service)
        if nrc is not None:
            return nrc
    return service
