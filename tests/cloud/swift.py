"""An S3 server of the tests: Debian's OpenStack Swift with its S3 interface, all on loopback, in a folder of its own.

One replica, one device, four processes: account, container, object and proxy server. ``setup/packages.sh test`` installs the programs. They
are started by Debian's own interpreter, because Swift is a Debian package and not one of this project's environment.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from otabench.bench import ports
from tests.waiting import eventually

ACCESS_KEY: Final = "test:tester"
SECRET_KEY: Final = "testing"
SYSTEM_PYTHON: Final = "/usr/bin/python3"
_SERVERS: Final = ("account", "container", "object", "proxy")
_START_S: Final = 60.0

_RING = """
import sys
from swift.common.ring import RingBuilder
folder, ports = sys.argv[1], sys.argv[2:]
for name, port in zip(("account", "container", "object"), ports):
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    builder.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="d1", weight=1))
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""

# Swift reads the secrets of its hashes from /etc/swift only. And its HTTP server (eventlet 0.33) answers a HEAD request without a
# Content-Length in chunks, which a HEAD's answer must not have (RFC 9110, 9.3.2): a client takes the last one for the next answer.
_SERVER = """
import sys
from swift.common import utils, wsgi
utils.validate_hash_conf = lambda: None
utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = b"", b"otabench"
serve = wsgi.wsgi.server
def without_chunks(app):
    def answer(environ, start_response):
        def start(status, headers, exc_info=None):
            if environ["REQUEST_METHOD"] == "HEAD" and "content-length" not in {name.lower() for name, _ in headers}:
                headers = [*headers, ("Content-Length", "0")]
            return start_response(status, headers, exc_info)
        return app(environ, start)
    return answer
wsgi.wsgi.server = lambda sock, app, *rest, **named: serve(sock, without_chunks(app), *rest, **named)
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[1], sys.argv[2], allow_modify_pipeline=False))
"""

_STORAGE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/nodes
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
fallocate_reserve = 0
"""

_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache_port}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
dns_compliant_bucket_names = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
"""


class SwiftServer:
    """One S3 server. ``stop`` and ``start`` keep its objects.

    Attributes:
        url: of its S3 interface.
    """

    def __init__(self) -> None:
        # Not below pytest's folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="otabench-swift-"))
        # Started as root, Swift takes the rights of a user: nobody needs none of its own.
        self._user = "nobody" if os.geteuid() == 0 else str(os.geteuid())
        (self.folder / "nodes" / "d1").mkdir(parents=True)
        *self._ports, cache_port = ports.free_ports(len(_SERVERS) + 1)
        for name, port in zip(_SERVERS, self._ports, strict=True):
            text = (_PROXY if name == "proxy" else _STORAGE).format(
                name=name, port=port, user=self._user, folder=self.folder, cache_port=cache_port
            )
            (self.folder / f"{name}.conf").write_text(text, encoding="utf-8")
        self._python("-c", _RING, str(self.folder), *(str(port) for port in self._ports[:3]))
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, self._user)
        self.url = f"http://127.0.0.1:{self._ports[-1]}"
        self._servers: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which S3 clients find the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def _python(self, *arguments: str) -> None:
        done = subprocess.run([SYSTEM_PYTHON, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        for name in _SERVERS:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._servers.append(
                    subprocess.Popen(
                        [SYSTEM_PYTHON, "-c", _SERVER, str(self.folder / f"{name}.conf"), f"{name}-server"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=self.folder,
                        start_new_session=True,
                    )
                )
        eventually(self._answers, f"Swift comes up, see {self.folder}", timeout_s=_START_S, interval_s=0.1)

    def stop(self) -> None:
        """End all servers at once."""
        self._signal(signal.SIGKILL)
        for server in self._servers:
            server.wait()
        self._servers = []

    def pause(self) -> None:
        """Let all servers hang: they accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End ``pause``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for server in self._servers:
            os.killpg(server.pid, number)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        for server in self._servers:
            assert server.poll() is None, f"a server of Swift has ended, see {self.folder}"
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=5) for port in self._ports]
        try:
            for connection in connections:
                connection.request("GET", "/")
                connection.getresponse()
        except OSError:
            return False
        finally:
            for connection in connections:
                connection.close()
        return True
