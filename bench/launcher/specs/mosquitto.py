"""mosquitto's configuration: mutual TLS, and an access list by the name in the certificate.

* A vehicle reads the topics of its own VIN and writes nothing. Only the cloud's publisher writes. Nobody else has a right.
* The broker's own files are copied into a folder for it, because mosquitto, started as root, reads its key as its own user.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Final

from otabench.bench.ports import LOOPBACK
from otabench.proto.process_config import EVENTS_NAME, TlsConfig

MAX_MESSAGE_BYTES: Final = 8 * 1024
"""A wake-up has about 200 bytes, an event of a job a reason of 1 KiB besides."""
_ACCOUNT: Final = "mosquitto"
_ACCESS: Final = f"""user {EVENTS_NAME}
topic write otabench/v1/vehicles/+/+
pattern read otabench/v1/vehicles/%u/#
"""


def write_config(folder: Path, *, port: int, tls: TlsConfig) -> Path:
    """Write the broker's files into a folder of its own, and return its configuration.

    Args:
        folder: made if it does not exist.
        port: on loopback.
        tls: the broker's own certificate; clients need one of the same CA.

    Raises:
        OSError: a file cannot be read or written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source, name in ((tls.ca, "ca.pem"), (tls.certificate, "broker.pem"), (tls.key, "broker.key")):
        # copy keeps the mode, so the key stays its owner's only.
        shutil.copy(source, folder / name)
    access = folder / "access"
    access.write_text(_ACCESS, encoding="utf-8")
    access.chmod(0o600)
    config = folder / "mosquitto.conf"
    config.write_text(_config(folder, port=port, user=_give_to_account(folder)), encoding="utf-8")
    return config


def _config(folder: Path, *, port: int, user: str) -> str:
    return f"""listener {port} {LOOPBACK}
cafile {folder / "ca.pem"}
certfile {folder / "broker.pem"}
keyfile {folder / "broker.key"}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder / "access"}
message_size_limit {MAX_MESSAGE_BYTES}
max_inflight_messages 100
max_queued_messages 1000
persistence false
log_dest stderr
{user}"""


def _give_to_account(folder: Path) -> str:
    """Give the files to mosquitto's own account, and return the configuration's line for it.

    It is empty where mosquitto runs as the bench's user. As root in a folder that only root can enter, mosquitto has to stay root.
    """
    if os.geteuid() != 0:
        return ""
    try:
        account = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return "user root\n"
    if not all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents):
        return "user root\n"
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    return f"user {_ACCOUNT}\n"
