"""The algorithm of security access (service 27), which computes the key for a seed. A bench file may name a user's own algorithm.

    algorithm = load("hmac-sha256", secret=secret)
    key = algorithm.key_for(seed, level=0x01)

* ``hmac-sha256`` is built in. The key is HMAC-SHA-256(secret, seed).
* ``aes-cmac`` is built in. The key is AES-CMAC(secret, seed), RFC 4493; the secret has 16, 24 or 32 bytes.
* ``xor`` and ``add`` are built in, for demonstrations: they hide nothing. Each byte of the seed is combined with the secret's.
* ``sa2`` is built in: the secret is a script of SA2 byte code (``proto.sa2``), for seeds of 4 bytes.
* ``library:PATH`` is a shared library with GenerateKeyEx or GenerateKeyExOpt, called in a process of its own (``seed_key_library``).
  ``library:PATH?variant=V&options=O`` gives it these texts.
* ``module:function`` is a user's own algorithm, which ECU and gateway import: ``function(seed: bytes, *, secret: bytes, level: int) ->
  bytes``. ``level`` is the sub-function of requestSeed. The same seed must give the same key, and all keys must have the same length.

An algorithm is loaded and called once at the start. So a wrong name or a failing function is an error then, and not in the middle of an
update.
"""

from __future__ import annotations

import hashlib
import hmac
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from otabench.proto.sa2 import REGISTER_BYTES
from otabench.proto.sa2 import run as run_sa2

DEFAULT: Final = "hmac-sha256"
LIBRARY: Final = "library:"
NAME_PATTERN: Final = (
    r"^(hmac-sha256|aes-cmac|xor|add|sa2|library:[^?\x00-\x1f]+(\?[\x21-\x7e]*)?|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
)
LIBRARY_TIMEOUT_S: Final = 10.0
_MAX_KEY_BYTES: Final = 255
# The trial call only shows whether the function works and how long its keys are. Any seed will do.
_TRIAL_SEED: Final = bytes(range(1, 17))


class AlgorithmError(Exception):
    """The algorithm cannot be used. The message contains its name, the reason and the remedy."""


@dataclass(frozen=True)
class SecurityAlgorithm:
    """One algorithm with the ECU's secret. ``key_bytes`` is the length of its keys; None: it is known with the first seed only."""

    name: str
    key_bytes: int | None
    _function: Callable[..., Any]
    _secret: bytes

    def key_for(self, seed: bytes, *, level: int) -> bytes:
        """Return the key for a seed.

        Raises:
            AlgorithmError: the function failed, or did not return a key of the usual length.
        """
        key = _call(self.name, self._function, seed, self._secret, level)
        if self.key_bytes is not None and len(key) != self.key_bytes:
            raise AlgorithmError(
                f"security algorithm {self.name}: returned a key of {len(key)} bytes, but one of {self.key_bytes} bytes before: "
                "all keys must have the same length"
            )
        return key


def hmac_sha256(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return the key of the built-in algorithm. It ignores ``level``, because all levels share the secret."""
    return hmac.new(secret, seed, hashlib.sha256).digest()


def aes_cmac(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return AES-CMAC(secret, seed), RFC 4493. It ignores ``level``."""
    # Imported here: every command loads this module, and few ECUs use this algorithm.
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    cmac = CMAC(AES(secret))
    cmac.update(seed)
    return cmac.finalize()


def xor(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return each byte of the seed XOR the secret's. For demonstrations: one seed and its key give the secret away."""
    return bytes(each ^ secret[at % len(secret)] for at, each in enumerate(seed))


def add(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return each byte of the seed plus the secret's, without carry. For demonstrations, as ``xor``."""
    return bytes((each + secret[at % len(secret)]) & 0xFF for at, each in enumerate(seed))


def sa2(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return the key that a script of SA2 byte code computes; ``secret`` is the script. All levels share it."""
    return run_sa2(secret, seed)


_BUILT_IN: Final[dict[str, Callable[..., bytes]]] = {
    DEFAULT: hmac_sha256,
    "aes-cmac": aes_cmac,
    "xor": xor,
    "add": add,
    "sa2": sa2,
}


def load(name: str, *, secret: bytes) -> SecurityAlgorithm:
    """Return the algorithm of that name, after calling it once.

    Raises:
        AlgorithmError: the module, function or library does not exist, or it fails.
    """
    if name.startswith(LIBRARY):
        return SecurityAlgorithm(name, None, _library(name), secret)
    function = _BUILT_IN.get(name) or _find(name)
    # SA2 has a register of 4 bytes.
    trial_seed = _TRIAL_SEED[:REGISTER_BYTES] if function is sa2 else _TRIAL_SEED
    key_bytes = len(_call(name, function, trial_seed, secret, 1))
    # Keys of these two are as long as the seed, which has another length in every kind of ECU.
    return SecurityAlgorithm(name, None if function in (xor, add) else key_bytes, function, secret)


def _library(name: str) -> Callable[..., bytes]:
    """Return a function that calls the library. A library is not tried at the start: it may accept seeds of one length only."""
    path, _, query = name.removeprefix(LIBRARY).partition("?")
    texts = {key: values[-1] for key, values in parse_qs(query).items()}
    if unknown := set(texts) - {"variant", "options"}:
        raise AlgorithmError(
            f"security algorithm {name}: unknown: {', '.join(sorted(unknown))}; known: variant, options"
        )
    if not Path(path).is_file():
        raise AlgorithmError(f"security algorithm {name}: there is no file {path}; check the path")
    # Without the environment's packages (-I -S), the process starts in a few hundredths of a second.
    command = [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("seed_key_library.py")),
        str(Path(path).resolve()),
    ]

    def call(seed: bytes, *, secret: bytes, level: int) -> bytes:
        arguments = [*command, str(level), texts.get("variant", ""), texts.get("options", "")]
        try:
            done = subprocess.run(
                arguments, input=seed.hex(), capture_output=True, text=True, timeout=LIBRARY_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise AlgorithmError(
                f"security algorithm {name}: the library did not return within {LIBRARY_TIMEOUT_S:g} s"
            ) from error
        if done.returncode < 0:
            raise AlgorithmError(f"security algorithm {name}: the library crashed (signal {-done.returncode})")
        if done.returncode:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise AlgorithmError(f"security algorithm {name}: {reason}")
        return bytes.fromhex(done.stdout)

    return call


def _find(name: str) -> Callable[..., Any]:
    module_name, separator, function_name = name.partition(":")
    if not separator or not module_name or not function_name:
        known = ", ".join(_BUILT_IN)
        raise AlgorithmError(f"security algorithm {name!r}: expected {known}, module:function or library:PATH")
    try:
        function = pkgutil.resolve_name(name)
    except AttributeError as error:
        # The module was imported, but the name of the function is wrong.
        raise AlgorithmError(f"security algorithm {name}: {module_name} has no function {function_name}") from error
    except Exception as error:
        raise AlgorithmError(
            f"security algorithm {name}: module {module_name} cannot be imported ({type(error).__name__}: {error}): "
            "install it, or put its folder into PYTHONPATH"
        ) from error
    if not callable(function):
        raise AlgorithmError(f"security algorithm {name}: {function_name} of {module_name} is not a function")
    return function  # type: ignore[no-any-return]


def _call(name: str, function: Callable[..., Any], seed: bytes, secret: bytes, level: int) -> bytes:
    # The user's function may raise anything and return anything.
    try:
        key = function(seed, secret=secret, level=level)
    except AlgorithmError:
        raise
    except Exception as error:
        raise AlgorithmError(
            f"security algorithm {name}: failed ({type(error).__name__}: {error}): "
            "it is called as function(seed, secret=…, level=…)"
        ) from error
    if not isinstance(key, bytes) or not 0 < len(key) <= _MAX_KEY_BYTES:
        raise AlgorithmError(f"security algorithm {name}: returned {key!r:.60}, not 1 to {_MAX_KEY_BYTES} bytes")
    return key
