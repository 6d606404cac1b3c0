"""The algorithm of security access (service 27), which computes the key for a seed. A bench file may name a user's own algorithm.

    algorithm = load("hmac-sha256", secret=secret)
    key = algorithm.key_for(seed, level=0x01)

* ``hmac-sha256`` is built in. The key is HMAC-SHA-256(secret, seed).
* ``module:function`` is a user's own algorithm, which ECU and gateway import: ``function(seed: bytes, *, secret: bytes, level: int) ->
  bytes``. ``level`` is the sub-function of requestSeed. The same seed must give the same key, and all keys must have the same length.

An algorithm is loaded and called once at the start. So a wrong name or a failing function is an error then, and not in the middle of an
update.
"""

from __future__ import annotations

import hashlib
import hmac
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

DEFAULT: Final = "hmac-sha256"
NAME_PATTERN: Final = r"^(hmac-sha256|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
_MAX_KEY_BYTES: Final = 255
# The trial call only shows whether the function works and how long its keys are. Any seed will do.
_TRIAL_SEED: Final = bytes(range(1, 17))


class AlgorithmError(Exception):
    """The algorithm cannot be used. The message contains its name, the reason and the remedy."""


@dataclass(frozen=True)
class SecurityAlgorithm:
    """One algorithm with the ECU's secret. ``key_bytes`` is the length of its keys."""

    name: str
    key_bytes: int
    _function: Callable[..., Any]
    _secret: bytes

    def key_for(self, seed: bytes, *, level: int) -> bytes:
        """Return the key for a seed.

        Raises:
            AlgorithmError: the function failed, or did not return a key of the usual length.
        """
        key = _call(self.name, self._function, seed, self._secret, level)
        if len(key) != self.key_bytes:
            raise AlgorithmError(
                f"security algorithm {self.name}: returned a key of {len(key)} bytes, but one of {self.key_bytes} bytes before: "
                "all keys must have the same length"
            )
        return key


def hmac_sha256(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return the key of the built-in algorithm. It ignores ``level``, because all levels share the secret."""
    return hmac.new(secret, seed, hashlib.sha256).digest()


def load(name: str, *, secret: bytes) -> SecurityAlgorithm:
    """Return the algorithm of that name, after calling it once.

    Raises:
        AlgorithmError: the module or function does not exist, or it fails.
    """
    function = hmac_sha256 if name == DEFAULT else _find(name)
    return SecurityAlgorithm(name, len(_call(name, function, _TRIAL_SEED, secret, 1)), function, secret)


def _find(name: str) -> Callable[..., Any]:
    module_name, separator, function_name = name.partition(":")
    if not separator or not module_name or not function_name:
        raise AlgorithmError(f"security algorithm {name!r}: expected {DEFAULT} or module:function")
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
    except Exception as error:
        raise AlgorithmError(
            f"security algorithm {name}: failed ({type(error).__name__}: {error}): "
            "it is called as function(seed, secret=…, level=…)"
        ) from error
    if not isinstance(key, bytes) or not 0 < len(key) <= _MAX_KEY_BYTES:
        raise AlgorithmError(f"security algorithm {name}: returned {key!r:.60}, not 1 to {_MAX_KEY_BYTES} bytes")
    return key
