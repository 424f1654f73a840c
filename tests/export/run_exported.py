"""Runs exported programs where neither this package nor Flax can be imported: JAX and NumPy alone.

python run_exported.py FOLDER reads NAME.stablehlo and NAME.in.npz of every program there and writes NAME.out.npz.
"""

import importlib.abc
import pathlib
import sys

FORBIDDEN = ("vidtldr_jax", "checkpoints_convert", "flax", "tests")


class Refusal(importlib.abc.MetaPathFinder):
    """Refuses what a server would not have."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} was asked for")


def main(folder):
    sys.meta_path.insert(0, Refusal())

    import jax.export
    import numpy as np

    for place in sorted(folder.glob("*.stablehlo")):
        program = jax.export.deserialize(place.read_bytes())
        batches = np.load(place.with_suffix(".in.npz"))
        weights = place.with_name(place.name + ".safetensors")
        first = []
        if weights.exists():
            from safetensors.numpy import load_file

            first = [load_file(weights)]
        found = {}
        for size in sorted({name.split()[0] for name in batches}):
            inputs = [batches[name] for name in sorted(batches) if name.split()[0] == size]
            outputs = program.call(*first, *inputs)
            named = outputs if isinstance(outputs, dict) else {"out": outputs}
            found |= {f"{size} {name}": np.asarray(value) for name, value in named.items()}
        np.savez(place.with_suffix(".out.npz"), **found)
    assert not [name for name in FORBIDDEN if name in sys.modules]


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
