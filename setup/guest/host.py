"""Entry on the host: `host.py run KERNEL …`, `host.py join …`, `host.py list`. Called by `with-can`.

Rules: ports are checked before anything starts, the
guest is up before the command starts, and it is gone before the status is
returned. The parts: `guests.py` (which guests run), `machine.py` (a guest),
`client.py` (a command in it).
"""

from __future__ import annotations

import os
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path

import client
import guests
import machine
from guests import Guest, GuestError
from machine import BootError


def main() -> int:
    """Run as a program. Returns the exit status."""
    for _ in range(3):  # a descriptor closed by the caller must not become one of ours
        if (fd := os.open(os.devnull, os.O_RDWR)) > 2:
            os.close(fd)
            break
    parser = ArgumentParser(prog="host.py")
    modes = parser.add_subparsers(dest="mode", required=True)
    run = modes.add_parser("run")
    run.add_argument("--kernel", required=True)
    run.add_argument("--fallback", action="store_true")
    join = modes.add_parser("join")
    join.add_argument("--id", default="")
    for mode in (run, join):
        mode.add_argument("--forward", type=int, action="append", default=[])
        mode.add_argument("argv", nargs="+")
    modes.add_parser("list")
    options = parser.parse_args()
    try:
        if options.mode == "list":
            for guest in guests.running_guests():
                print(guest.line())
            return 0
        for port in options.forward:
            machine.check_port_is_free(port)
        if options.mode == "join":
            return run_in(guest_to_join(options.id).run_dir, options.argv, options.forward, main_command=False)
        return run_in_new_guest(options.kernel, options.argv, options.forward, fallback=options.fallback)
    except GuestError as error:
        print(f"with-can: {error}", file=sys.stderr)
        return client.FAILED
    except KeyboardInterrupt:
        return 130


def run_in_new_guest(kernel: str, argv: list[str], ports: list[int], *, fallback: bool) -> int:
    """Boot a guest for this command."""
    try:
        run_dir, guard = machine.boot(kernel, folder=client.working_directory(), command=argv)
    except BootError as error:
        if not fallback:
            raise GuestError(
                f"{error}\nwith-can: what to do: see {Path(__file__).resolve().parents[1] / 'README.md'}, «When the guest does not start»"
            ) from error
        run_without_kernel_can(argv, error.reason)
    try:
        return run_in(run_dir, argv, ports, main_command=True)
    finally:
        guard.end()


def run_without_kernel_can(argv: list[str], reason: str) -> None:
    """Become the command, with OTABENCH_NO_KERNEL_CAN=1: the last resort."""
    print(
        f"with-can: no kernel with CAN here ({reason.rstrip('.')}): using python-can's udp_multicast with "
        "user-space ISO-TP, which is not the kernel's CAN",
        file=sys.stderr,
    )
    try:
        os.execvpe(argv[0], argv, {**os.environ, "OTABENCH_NO_KERNEL_CAN": "1", "OTABENCH_KERNEL": "none"})
    except OSError as error:
        raise GuestError(f"{argv[0]}: {error.strerror}") from error


def run_in(run_dir: Path, argv: list[str], ports: list[int], *, main_command: bool) -> int:
    """Run a command in a guest that is up, with its ports."""
    controls: list[socket.socket] = []
    forwards: list[int] = []
    try:
        for port in ports:
            controls.append(machine.connect(run_dir))
            forwards.append(machine.forward(run_dir, port, client.open_forward(controls[-1], port)))
        with machine.connect(run_dir) as connection:
            return client.Client(connection, run_dir, ports=ports).run(argv, main=main_command)
    finally:
        for control in controls:
            control.close()
        if not main_command:  # the guest lives on
            for number in forwards:
                machine.take_forward_back(run_dir, number)


def guest_to_join(wanted: str) -> Guest:
    """Return the guest of this id, or that of the working directory. One that was started in a folder above is announced.

    Raises:
        GuestError: there is none, or it is not clear which.
    """
    folder = Path(client.working_directory())
    found = guests.choose(guests.running_guests(), wanted, folder)
    if not wanted and found.folder != folder:
        print(f"with-can: joining {found.line()}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
