"""Weights and tokenizer of a checkpoint folder, read once and compared with their digests on the way."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from vidtldr_jax.inference.checkpoint_config import explain_mismatch
from vidtldr_jax.inference.errors import CheckpointError
from vidtldr_jax.inference.finite_weights import fits_float32, is_finite
from vidtldr_jax.inference.params import check_params
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.faults import join_faults, shorten
from vidtldr_jax.trust.limits import LimitError, check_limit
from vidtldr_jax.trust.regular import check_regular
from vidtldr_jax.trust.safetensors_files import (
    DTYPES,
    DigestError,
    Entry,
    SafetensorsError,
    SafetensorsFile,
    describe_mismatch,
)


def read_weights(path: Path, config: Config, *, digest: str | None) -> dict[str, np.ndarray]:
    """Read parameters; the header is checked against the architecture before anything else is read.

    Args:
      path: of the safetensors file.
      config: the architecture.
      digest: SHA-256 of the file; None compares nothing.

    Returns:
      Flat parameter path -> array.

    Raises:
      CheckpointError: the file is missing or damaged, is not what the digest was made of, does not fit the architecture
        or holds numbers that are not finite.
    """
    try:
        with SafetensorsFile(path) as file:
            _check_count(file.entries, config)
            check_params({name: _describe(name, entry) for name, entry in file.entries.items()}, config)
            params = file.read_arrays(digest=digest)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; convert the weights first.") from None
    except DigestError as error:
        raise explain_mismatch(path, str(error)) from error
    except SafetensorsError as error:
        raise CheckpointError(f"{path} is damaged ({error}); convert the weights again.") from error
    except LimitError as error:
        raise CheckpointError(f"{error}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror or error}); check the path.") from error
    check_finite(params, path)
    return params


def check_finite(params: dict[str, np.ndarray], path: Path) -> None:
    """Refuse parameters with numbers that are infinite or NaN, or become so in float32.

    Args:
      params: flat parameter path -> array.
      path: of their file.

    Raises:
      CheckpointError: there are some; the parameters are named.
    """
    faults = [name for name, values in params.items() if not is_finite(values)]
    if faults:
        raise CheckpointError(
            f"parameters are finite numbers; {path} has infinite ones or NaN in {join_faults(faults)}; it is damaged, "
            "or its training diverged; get it again."
        )
    faults = [name for name, values in params.items() if not fits_float32(values)]
    if faults:
        raise CheckpointError(
            f"models compute in float32; {path} has float64 numbers beyond its range in {join_faults(faults)}; scale "
            "them, or get it again."
        )


def read_tokenizer_text(path: Path, *, digest: str | None, is_expected: bool) -> str | None:
    """Read tokenizer.json.

    Args:
      path: of the file.
      digest: SHA-256 of the file; None compares nothing.
      is_expected: whether config.json lists the file.

    Returns:
      Its text; None where there is none and none is expected.

    Raises:
      CheckpointError: it is missing, damaged, or not what the digest was made of.
    """
    try:
        check_regular(path)
        check_limit("json_bytes", path.stat().st_size, repr(str(path)))
        data = path.read_bytes()
        if digest is not None and (found := hash_bytes(data)) != digest:
            raise explain_mismatch(path, describe_mismatch(found, digest))
        return data.decode("utf-8")
    except FileNotFoundError:
        if not is_expected:
            return None
        raise CheckpointError(f"{path.parent} lists {path.name} and has none; get it again.") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged ({error}); put the model's own there.") from error
    except LimitError as error:
        raise CheckpointError(f"{error}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror or error}); check the path.") from error


def _check_count(entries: dict[str, Entry], config: Config) -> None:
    """Refuse weights of fewer arrays than blocks before parameters are listed, which takes time for each block."""
    if len(entries) < config.depth:
        raise CheckpointError(
            f"the parameters don't fit the architecture: {config.depth} blocks have more than {len(entries)}; "
            "convert the weights again or fix the architecture."
        )


def _describe(name: str, entry: Entry) -> jax.ShapeDtypeStruct:
    if entry.dtype not in DTYPES:
        raise SafetensorsError(f"{shorten(repr(name), 100)} has dtype {entry.dtype}; dtypes are {', '.join(DTYPES)}")
    return jax.ShapeDtypeStruct(entry.shape, DTYPES[entry.dtype])
