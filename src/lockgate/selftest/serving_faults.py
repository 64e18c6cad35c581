"""Faults of the server and of what it is given."""

from __future__ import annotations

from pathlib import Path

from lockgate.selftest.entries import Served, Staged
from lockgate.selftest.fault import By, Fault


def _tampered(bundle: Path, count: float) -> None:
    """Change bytes in the middle of a signed bundle's graph."""
    path = bundle / "model.onnx"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    for at in range(max(1, round(count))):
        content[middle + at] ^= 0x01
    path.chmod(0o644)
    path.write_bytes(content)


FAULTS = (
    Fault(
        name="tampered_bundle",
        story="bytes of the bundle are changed after it was signed",
        by=(By("infra", ("failed_tries",)),),
        entry=Served(spoil=_tampered),
        amount=4.0,
        unit="bytes changed",
    ),
    Fault(
        name="spoiled_on_the_staging_host",
        story="the bundle was copied to the staging host and is not what was sealed",
        by=(By("staging"),),
        entry=Staged(_tampered),
        amount=4.0,
        unit="bytes changed",
    ),
    Fault(
        name="memory_leak",
        story="the server takes memory and never gives it back",
        by=(By("stress"), By("infra", ("memory",))),
        entry=Served(option="--leak"),
        amount=100.0,
        unit="megabytes a second",
    ),
    Fault(
        name="server_dies",
        story="the server ends by itself while it is asked",
        by=(By("stress"), By("infra", ("failed_tries",))),
        entry=Served(option="--dies-after"),
        amount=0.5,
        unit="seconds it lives",
        grows=False,
    ),
)
