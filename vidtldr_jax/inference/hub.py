"""hf://owner/name[@revision][/file]: files of a repository on a Hugging Face hub, kept in huggingface_hub's cache."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidtldr_jax.data.text import VOCABULARY_NAME, TextTokenizer, read_tokenizer
from vidtldr_jax.inference.checkpoint import CONFIG_NAME, TOKENIZER_NAME, WEIGHTS_NAME, CheckpointError
from vidtldr_jax.trust.faults import shorten
from vidtldr_jax.trust.harmless import is_harmless, make_harmless

SCHEME: Final = "hf://"
# Names as the hub gives them, in which no path can hide: - and . stand alone and inside, and none is a Git address.
_NAME: Final = re.compile(r"(?!.*\.git\Z)[A-Za-z0-9_](?:[-.]?[A-Za-z0-9_])*")
_REVISION: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_LONGEST: Final = 96
_LONGEST_FILE: Final = 1000
# What a path of a repository's file has not: escapes of addresses, queries, other schemes, Windows's separators, globs.
_STRANGE: Final = re.compile(r"""[\\%?#:*"<>|\s]""")


class HubError(CheckpointError):
    """A repository can't be reached or has not what is asked for; the message is one line and says what to do."""


class HubPlace(NamedTuple):
    """A place on a hub.

    Attributes:
      repository: owner/name.
      revision: branch, tag or commit; None means the main branch.
      file: path in the repository, or None for all of it.
    """

    repository: str
    revision: str | None
    file: str | None


def parse_place(text: str) -> HubPlace:
    """Reads hf://owner/name, hf://owner/name@revision or either with /path/to/file behind.

    Args:
      text: what a user wrote.

    Returns:
      A `HubPlace`.

    Raises:
      HubError: it has another form.
    """
    owner, name, revision, file = _split(text)
    faults = [] if text.startswith(SCHEME) else [f"there is no {SCHEME}"]
    faults += [
        f"the {what} {show(value)} is not of 1 to {_LONGEST} letters, digits and single - _ . between them"
        for what, value in (("owner", owner), ("name", name))
        if len(value) > _LONGEST or not _NAME.fullmatch(value)
    ]
    if revision is not None and (len(revision) > _LONGEST or not _REVISION.fullmatch(revision)):
        faults.append(f"the revision {show(revision)} is no branch, tag or commit")
    if file is not None and not _is_file(file):
        faults.append(f"the file {show(file)} is no path in a repository")
    if faults:
        raise HubError(
            "a place on a hub is hf://owner/name, with @revision or /file behind it; in "
            f"{show(text)} {'; '.join(faults)}; fix it."
        )
    return HubPlace(f"{owner}/{name}", revision, file)


def show(text: str) -> str:
    """Return a text as a message shows it: on one line, with quotes, without the middle of a long one."""
    return repr(shorten(make_harmless(text), _LONGEST))


def _split(text: str) -> tuple[str, str, str | None, str | None]:
    owner, _, rest = text.removeprefix(SCHEME).partition("/")
    name, slash, file = rest.partition("/")
    name, at, revision = name.partition("@")
    return owner, name, revision if at else None, (file.removesuffix("/") or None) if slash else None


def _is_file(path: str) -> bool:
    is_path = all(part not in ("", ".", "..") for part in path.split("/"))
    return is_path and len(path) <= _LONGEST_FILE and is_harmless(path) and not _STRANGE.search(path)


def download_file(place: HubPlace, name: str) -> Path | None:
    """Gets a file of a repository, from the cache if it is there unchanged.

    Args:
      place: the repository.
      name: path of the file in it.

    Returns:
      Where the file lies, or None if the repository has no such file.

    Raises:
      HubError: the name is no path in a repository, or the repository is missing, private or out of reach and the file
        is not in the cache.
    """
    if not _is_file(name):
        raise HubError(f"the file {show(name)} is no path in a repository; fix it.")
    hub = _import_hub()
    with _explain(hub, place):
        try:
            return Path(hub.hf_hub_download(place.repository, name, revision=place.revision))
        except hub.errors.LocalEntryNotFoundError:
            # Not reached, which is something else than not there, unless the cache remembers that it was not there.
            found = hub.try_to_load_from_cache(place.repository, name, revision=place.revision)
            if found is None or isinstance(found, str):
                raise
            return None
        except hub.errors.EntryNotFoundError:
            return None


def list_files(place: HubPlace) -> list[str]:
    """Lists the files of a repository.

    Args:
      place: the repository.

    Returns:
      Their paths.

    Raises:
      HubError: the repository is missing, private or out of reach.
    """
    hub = _import_hub()
    with _explain(hub, place):
        return list(hub.HfApi().list_repo_files(place.repository, revision=place.revision))


def download_checkpoint(text: str) -> Path:
    """Gets a checkpoint folder from a hub.

    Args:
      text: hf://owner/name of a repository with model.safetensors and the config.json of this project.

    Returns:
      A local folder.

    Raises:
      HubError: the repository can't be had or has no such files.
    """
    place = parse_place(text)
    files = [download_file(place, name) for name in (CONFIG_NAME, WEIGHTS_NAME)]
    if place.file is not None or None in files:
        raise HubError(
            f"a checkpoint on a hub has {CONFIG_NAME} and {WEIGHTS_NAME}; {text} has not; convert it "
            f"first: vidtldr convert {text} FOLDER."
        )
    download_file(place, TOKENIZER_NAME)  # beside them where the repository has one
    return Path(str(files[0])).parent


def load_tokenizer(place: str) -> TextTokenizer:
    """Reads a tokenizer from this machine or from a hub.

    Args:
      place: a tokenizer.json, a vocab.txt, a folder with either, or hf://owner/name of a repository with either.

    Returns:
      The tokenizer.

    Raises:
      TextError: it is none, or `tokenizers` is not installed.
      HubError: the repository can't be had or has no such file.
    """
    if not place.startswith(SCHEME):
        return read_tokenizer(place)
    parsed = parse_place(place)
    names = (TOKENIZER_NAME, VOCABULARY_NAME) if parsed.file is None else (parsed.file,)
    for name in names:
        path = download_file(parsed, name)
        if path is not None:
            return read_tokenizer(path)
    raise HubError(f"{place} has no {' or '.join(names)}; name another repository or a file.")


def _import_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils.logging
    except ImportError as error:
        raise HubError(
            "hf:// needs huggingface_hub; pip install 'vidtldr-jax[hub]', or download the files and name their folder."
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _explain(hub: Any, place: HubPlace) -> Iterator[None]:
    """Turns the hub's errors into one line each."""
    verbosity = hub.utils.logging.get_verbosity()
    hub.utils.logging.set_verbosity_error()  # every retry would be a line; what fails for good is said once
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        explained = _describe(hub, place, error)
        if explained is None:
            raise
        raise explained from error
    finally:
        hub.utils.logging.set_verbosity(verbosity)


def _describe(hub: Any, place: HubPlace, error: Exception) -> HubError | None:
    """Returns what to tell a user, the closest class of errors first; None for an error of this machine's disk."""
    errors = hub.errors
    where = f"{SCHEME}{place.repository}"
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{where} wants its terms accepted; accept them on its page, then set HF_TOKEN or run `hf auth login`."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"there is no {where}, or it is private; check owner and name; for a private one set "
            "HF_TOKEN or run `hf auth login`."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{where} has no revision {place.revision}; check the part after @.")
    if isinstance(error, errors.HFValidationError):
        return HubError(f"{where} is no repository's name ({_first_line(error)}); fix it.")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return _out_of_reach(hub, where, error)
    if isinstance(error, errors.HfHubHTTPError):
        return HubError(f"{where} answered {_first_line(error)}; try again later.")
    # The HTTP library below differs between versions; all of its failures mean that nothing answered.
    if type(error).__module__.split(".")[0] in ("httpx", "httpcore", "httpx2", "requests", "urllib3"):
        return _out_of_reach(hub, where, error)
    if isinstance(error, OSError):  # of this machine's disk
        return None
    return HubError(
        f"a hub answers as huggingface_hub expects; got what it can't read from {hub.constants.ENDPOINT} for "
        f"{where} ({type(error).__name__}: {_first_line(error)}); check HF_ENDPOINT, or name a local folder."
    )


def _out_of_reach(hub: Any, where: str, error: Exception) -> HubError:
    if hub.constants.HF_HUB_OFFLINE:
        return HubError(f"{where} is not in the cache and HF_HUB_OFFLINE is set; unset it, or name a local folder.")
    return HubError(
        f"{hub.constants.ENDPOINT} can't be reached and {where} is not in the cache "
        f"({_first_line(error.__cause__ or error)}); check the connection, or name a local folder."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
