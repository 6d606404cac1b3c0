"""Find USB-CAN adapters in sysfs, with their name, driver, serial number and interfaces.

The module recognizes USB devices by the identifiers of Linux' own drivers, and of LAWICEL firmware behind a serial port.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.finding import Finding, ok, warn

USB_DEVICES: Final = Path("/sys/bus/usb/devices")
_SERIAL_DRIVERS: Final = ("cdc_acm", "ftdi_sio")
"""With these drivers the adapter is a serial port, not a CAN interface."""
_BY_PRODUCT: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("1d50", "606f"): ("candleLight / gs_usb", "gs_usb"),
    ("1209", "2323"): ("candleLight", "gs_usb"),
    ("1cd2", "606f"): ("CANext FD", "gs_usb"),
    ("16d0", "10b8"): ("CANdebugger FD", "gs_usb"),
    ("0c72", "000c"): ("PCAN-USB", "peak_usb"),
    ("0c72", "000d"): ("PCAN-USB Pro", "peak_usb"),
    ("0c72", "0011"): ("PCAN-USB Pro FD", "peak_usb"),
    ("0c72", "0012"): ("PCAN-USB FD", "peak_usb"),
    ("0c72", "0013"): ("PCAN-Chip USB", "peak_usb"),
    ("0c72", "0014"): ("PCAN-USB X6", "peak_usb"),
    ("16d0", "117e"): ("CANable (slcan)", "cdc_acm"),
    ("ad50", "60c4"): ("CANable (slcan)", "cdc_acm"),
    ("0403", "ffa8"): ("LAWICEL CANUSB", "ftdi_sio"),
}
_BY_VENDOR: Final = {"0bfd": ("Kvaser", "kvaser_usb"), "0c72": ("PEAK", "peak_usb")}


@dataclass(frozen=True)
class UsbAdapter:
    """One USB-CAN adapter."""

    path: str
    """Its place on the USB, e.g. 1-1.4."""
    name: str
    expected_driver: str
    serial: str
    driver: str
    interfaces: tuple[str, ...]
    """CAN interfaces, or serial ports."""


def find(devices: Path = USB_DEVICES) -> list[UsbAdapter]:
    """Return the adapters that are plugged in. Without USB the folder does not exist, and the list is empty."""
    if not devices.is_dir():
        return []
    adapters = []
    for device in sorted(devices.iterdir()):
        vendor, product = _text(device / "idVendor").lower(), _text(device / "idProduct").lower()
        known = _BY_PRODUCT.get((vendor, product)) or _BY_VENDOR.get(vendor)
        if known is None:
            continue
        # A USB device has one or more interfaces (1-1.4:1.0, …). Drivers are bound to these, not to the device.
        parts = sorted(devices.glob(f"{device.name}:*"))
        drivers = [part.joinpath("driver").resolve().name for part in parts if part.joinpath("driver").exists()]
        interfaces = [entry.name for part in parts for entry in _interfaces(part)]
        adapters.append(
            UsbAdapter(
                path=device.name,
                name=known[0],
                expected_driver=known[1],
                serial=_text(device / "serial"),
                driver=drivers[0] if drivers else "",
                interfaces=tuple(sorted(interfaces)),
            )
        )
    return adapters


def judge(adapters: Sequence[UsbAdapter], *, is_needed: bool, is_missing: bool) -> list[Finding]:
    """Return a finding for each adapter, or one finding if there is no adapter.

    Args:
        adapters: the result of ``find``.
        is_needed: whether the bench file names an interface that only an adapter can provide.
        is_missing: whether such an interface does not exist.
    """
    if not adapters:
        if is_missing:
            return [
                warn(
                    "USB adapter",
                    "no adapter is plugged in, but the bench file names a real bus",
                    "plug it in; `lsusb` must show it (docs/hardware.md)",
                )
            ]
        if is_needed:
            return [ok("USB adapter", "no known adapter; the interfaces of the bench file exist without one")]
        return [ok("USB adapter", "no adapter; a bench of simulated ECUs does not need one")]
    # Clones share one serial number, so a udev rule by serial number would match all of them.
    same = Counter(adapter.serial for adapter in adapters if adapter.serial)
    findings = []
    for adapter in adapters:
        about = f"USB {adapter.path}"
        words = f"{adapter.name}, serial {adapter.serial or 'none'}"
        if not adapter.driver:
            findings.append(warn(about, f"{words}, no driver", f"modprobe {adapter.expected_driver}"))
        elif adapter.expected_driver in _SERIAL_DRIVERS:
            port = f"/dev/{adapter.interfaces[0]}" if adapter.interfaces else "no serial port"
            findings.append(ok(about, f"{words}, driver {adapter.driver}, {port}: for `slcand` or python-can's slcan"))
        elif not adapter.interfaces:
            findings.append(
                warn(about, f"{words}, driver {adapter.driver}, no CAN interface", "unplug it and plug it in again")
            )
        else:
            findings.append(ok(about, f"{words}, driver {adapter.driver}, {', '.join(adapter.interfaces)}"))
        if same[adapter.serial] > 1:
            findings.append(
                warn(
                    about, f"another adapter has the same serial number {adapter.serial}", "name them by their USB path"
                )
            )
    return findings


def _interfaces(part: Path) -> list[Path]:
    """Return the CAN interfaces and serial ports of a USB device. A USB-serial chip's port is beside its tty folder, e.g. ttyUSB0."""
    return [*part.glob("net/*"), *part.glob("tty/*"), *part.glob("ttyUSB*")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
