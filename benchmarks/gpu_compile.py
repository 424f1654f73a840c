"""Does Triton's own compiler take the GPU kernels, and what do they need on the chip? No GPU is used.

    pip install triton && python benchmarks/gpu_compile.py      # writes results/gpu_compile.json

JAX lowers each kernel to Triton's language here; the compiler of the PyPI package `triton` makes machine code of it for
a compute capability. Registers, spilled bytes and shared memory come from that code. XLA carries its own copy of the
compiler, of another version, so a GPU may see other figures; time is not measured.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import export

from benchmarks import record
from vidtldr_jax.ops import attention_triton

CAPABILITIES: Final = (80, 89, 90)
_CALLS: Final = ("__gpu$xla.gpu.triton", "triton_kernel_call", "triton_kernel_call_ffi")


def lower_kernels(num_heads: int, channels: int, dtype: Any) -> dict[str, str]:
    """Lowers the kernels of one layer of 2352 tokens; returns Triton's text by name."""
    # Where JAX hands the text on is no public place; a newer JAX may have moved it.
    from jax._src.pallas.triton import lowering

    found = []
    lower = lowering.lower_jaxpr_to_triton_module

    def watch(*args: Any, **kwargs: Any) -> Any:
        result = lower(*args, **kwargs)
        found.append(result.module.operation.get_asm(enable_debug_info=False))
        return result

    qkv = [jax.ShapeDtypeStruct((1, 2352, num_heads, channels), dtype)] * 3
    size = jax.ShapeDtypeStruct((1, 2352), jnp.float32)
    function = jax.jit(functools.partial(attention_triton.attend_triton, with_sharpness=True))
    unchecked = [export.DisabledSafetyCheck.custom_call(name) for name in _CALLS]
    lowering.lower_jaxpr_to_triton_module = watch
    try:
        export.export(function, platforms=["cuda"], disabled_checks=unchecked)(*qkv, size)
    finally:
        lowering.lower_jaxpr_to_triton_module = lower
    return dict(zip(("attend", "sharpness"), found, strict=True))


def compile_kernel(text: str, capability: int) -> dict[str, Any]:
    """Makes machine code of a kernel; returns what it needs."""
    import triton
    from triton.backends.compiler import GPUTarget

    options = {"num_warps": attention_triton.NUM_WARPS, "num_stages": attention_triton.NUM_STAGES}
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ttir"
        source.write_text(re.sub(r"^module @\w+ ", "module ", text))  # its parser takes no name here
        kernel = triton.compile(str(source), target=GPUTarget("cuda", capability, 32), options=options)
        code = Path(folder) / "kernel.cubin"
        code.write_bytes(kernel.asm["cubin"])
        command = [str(tools / "cuobjdump"), "-res-usage", str(code)]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        "registers_per_thread": int(re.findall(r"REG:(\d+)", usage)[-1]),
        "spilled_bytes": int(re.findall(r"LOCAL:(\d+)", usage)[-1]) + int(re.findall(r"STACK:(\d+)", usage)[-1]),
        "shared_bytes": int(kernel.metadata.shared),
        "uses_tensor_cores": "mma" in kernel.asm["ptx"],
    }


def run() -> Iterator[dict[str, Any]]:
    """Compiles every kernel for every capability."""
    for name, num_heads in (("UMT-B/16", 12), ("UMT-L/16", 16)):
        for dtype in (jnp.bfloat16, jnp.float32):
            for kernel, text in lower_kernels(num_heads, 64, dtype).items():
                for capability in CAPABILITIES:
                    row = {"model": name, "kernel": kernel, "dtype": jnp.dtype(dtype).name, "capability": capability}
                    row |= compile_kernel(text, capability)
                    print(row, flush=True)
                    yield row


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    arguments = parser.parse_args(words)
    result = {"triton": metadata.version("triton"), "tile": attention_triton.TILE, "rows": list(run())}
    record.finish("gpu_compile", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
