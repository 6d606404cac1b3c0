"""What the tester proves itself with to one ECU: the keys of security access (27), certificate and signatures of authentication (29)."""

from __future__ import annotations

from otabench.bench.uds.authentication import AuthenticationError, Credentials
from otabench.bench.uds.endpoint import EcuEndpoint, SecurityChoice
from otabench.bench.uds.errors import FlashError
from otabench.proto import security_algorithm
from otabench.proto.security_algorithm import AlgorithmError


class EcuSecrets:
    """The secrets of one ECU, as its endpoint names them."""

    def __init__(self, endpoint: EcuEndpoint) -> None:
        self._endpoint = endpoint
        self._credentials: Credentials | None = None

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        """See ``sequence.tester.Tester``."""
        step = f"27 {level:02X} request seed"
        secret = self._secret(choice, step=step)
        try:
            algorithm = security_algorithm.load(secret.security_algorithm, secret=bytes.fromhex(secret.security_secret))
            return algorithm.key_for(seed, level=level)
        except AlgorithmError as error:
            raise FlashError(str(error), ecu=self._endpoint.name, step=step) from error

    def _secret(self, choice: str, *, step: str) -> SecurityChoice:
        endpoint = self._endpoint
        if not choice:
            return SecurityChoice(
                security_secret=endpoint.security_secret, security_algorithm=endpoint.security_algorithm
            )
        chosen = endpoint.security_choices.get(choice)
        if chosen is None:
            known = ", ".join(endpoint.security_choices) or "none"
            text = f"there is no secret for {choice!r}; there are: {known}"
            remedy = f"add it to ecus.{endpoint.name}.security.choices in the bench file"
            raise FlashError(text, ecu=endpoint.name, step=step, remedy=remedy)
        return chosen

    def credentials(self, *, step: str) -> Credentials:
        """Return certificate and private key of the tester.

        Raises:
            FlashError: the bench file names none, or they cannot be used.
        """
        if self._credentials is None:
            endpoint, files = self._endpoint, self._endpoint.authentication
            if files is None:
                remedy = f"add authentication: {{certificate: …, key: …}} to ecus.{endpoint.name} in the bench file"
                raise FlashError("the tester has no certificate", ecu=endpoint.name, step=step, remedy=remedy)
            try:
                self._credentials = Credentials.load(files.certificate, files.key)
            except AuthenticationError as error:
                raise FlashError(str(error), ecu=endpoint.name, step=step) from error
        return self._credentials
