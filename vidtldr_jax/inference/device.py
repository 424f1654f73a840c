"""The device that JAX computes on, in words."""

from __future__ import annotations

import os

import jax


def describe_device() -> str:
    """Return the name of the default device, with the version of JAX."""
    device = jax.devices()[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    return f"{device.platform} ({device.device_kind}{cores}), JAX {jax.__version__}"
