"""What lies in a store such as S3: named by a URL, and listed, fetched and sent by fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from stylecli.errors import StyleCliError, first_line
from stylecli.files.atomic import atomic_path, remove_leftovers, require_writable

# What to install for each scheme. In all of these stores, an object is written whole or not at all.
_PACKAGES = {
    "s3": "stylecli[remote]",
    "gs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
    "memory": "stylecli[remote]",
}
_CACHE_BYTES = 10**9  # of copies of models
_KEY = 20  # characters of the name of a copy's folder
_HINT = "check the address; and the credentials, which are those of the store's own tools"


@dataclass(frozen=True)
class Url:
    """An object in a store, or a folder of objects, with the methods of a Path that plans need."""

    scheme: str  # such as s3
    path: str  # what follows ://, without a slash at its end

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, below: str) -> "Url":
        return replace(self, path=f"{self.path}/{below}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, such as ``.jpg``."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Url":
        """The folder that holds it."""
        return replace(self, path=self.path.rpartition("/")[0])

    def with_name(self, name: str) -> "Url":
        """Another object in the same folder."""
        return self.parent / name

    def is_relative_to(self, folder: "Url") -> bool:
        """Whether it is a folder, or lies in it."""
        return f"{self}/".startswith(f"{folder}/")

    def relative_to(self, folder: "Url") -> str:
        """Its name below a folder, with slashes."""
        return self.path[len(folder.path) + 1 :]

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The names of all objects below, in the order of their folders; ``""`` is this object.

        The store is asked once, for lists of about a thousand names each.

        Raises:
            StyleCliError: there is no such bucket, no right to list it, or no connection; or two
                slashes follow the bucket, which libraries of stores read in different ways.
        """
        bucket, _, rest = self.path.partition("/")
        if rest.startswith("/"):
            hint = f"such as {self.scheme}://{bucket}/{rest.lstrip('/')}"
            raise StyleCliError(f"{self} has two slashes after its bucket", hint=hint)
        with _open_store("list", self) as (store, path):
            store.invalidate_cache()  # another process may have written since
            found = store.find(path)
            store.invalidate_cache()  # of a million objects it would hold half a gigabyte
        below = (name.removeprefix(path).removeprefix("/") for name in found)
        # A name that ends in a slash is a mark that some tools make for an empty folder.
        names = [below for name, below in zip(found, below, strict=True) if not name.endswith("/")]
        return tuple(sorted(names, key=lambda name: name.split("/")))

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        return bool(self.objects)

    def is_file(self) -> bool:
        """Whether it is an object."""
        return "" in self.objects

    def is_dir(self) -> bool:
        """Whether it is a folder of objects."""
        return any(self.objects)


Place = Path | Url
STANDARD_STREAM = Path("-")  # standard input or output, on a command line


def place(given: str | Path) -> Place:
    """A URL, if a text is one of a store that is known; otherwise a path."""
    scheme, mark, rest = str(given).partition("://")
    if isinstance(given, Path) or not mark or scheme not in _PACKAGES:
        return Path(given)
    return Url(scheme, rest.rstrip("/"))


def fetch(url: Url, path: Path) -> None:
    """Copy an object into a local file.

    Raises:
        StyleCliError: it cannot be read, or the file cannot be written.
    """
    with _open_store("read", url) as (store, name):
        store.get_file(name, str(path))


def send(path: Path, url: Url) -> None:
    """Copy a local file into an object, whole or not at all.

    Raises:
        StyleCliError: it cannot be written. The cause is a PermissionError or FileNotFoundError if
            there is no right to write there, or no such bucket.
    """
    with _open_store("write", url) as (store, name):
        store.put_file(str(path), name)


def size_of(url: Url) -> int:
    """The bytes of an object; 0 if its store does not say.

    Raises:
        StyleCliError: there is none, or no connection.
    """
    with _open_store("read", url) as (store, name):
        return int(store.info(name).get("size") or 0)


def fetch_cached(url: Url) -> Path:
    """A local copy of an object, under its name in the user's cache.

    The store is asked for its size, checksum and time; one that has changed is fetched again. Then
    the copies that were used longest ago are removed, until the others have 1 GB at most.

    Raises:
        StyleCliError: it cannot be read, or the cache cannot be written.
    """
    import hashlib

    import platformdirs

    with _open_store("read", url) as (store, name):
        store.invalidate_cache()
        state = f"{url} {store.info(name)}"
    key = hashlib.sha256(state.encode()).hexdigest()[:_KEY]
    folder = platformdirs.user_cache_path("stylecli") / key
    path = folder / url.name
    if path.is_file():
        with suppress(OSError):  # a cache that can only be read
            folder.touch()  # its time is that of its last use
        return path
    require_writable(folder)
    with atomic_path(path) as temporary:
        fetch(url, temporary)
    _remove_oldest(folder)
    return path


def _remove_oldest(newest: Path) -> None:
    """Remove the copies in the cache that were used longest ago, but never the newest."""
    total = 0
    with suppress(OSError):  # another process removes them too, or writes into one
        folders = [(one.stat().st_mtime, one) for one in newest.parent.glob("[0-9a-f]" * _KEY)]
        for _, folder in sorted(folders, reverse=True):
            remove_leftovers(folder)
            copies = list(folder.glob("[!.]*"))
            total += sum(path.stat().st_size for path in copies)
            if total > _CACHE_BYTES and folder != newest:
                for path in copies:
                    path.unlink()
                folder.rmdir()


@contextmanager
def _open_store(verb: str, url: Url) -> Iterator[tuple[Any, str]]:
    """The store of a URL, and its name in that store.

    Raises:
        StyleCliError: instead of any error of the store, while it is open: one line with the URL.
    """
    bucket, slash, rest = url.path.partition("/")
    if not url.path:
        raise StyleCliError(f"{url} names no bucket", hint=f"such as {url}bucket/photos")
    try:
        from fsspec.core import url_to_fs  # here: local files need none of it

        # Not of the whole URL: fsspec gives a meaning to some names, such as a::b.
        store, base = url_to_fs(f"{url.scheme}://{bucket}")
        yield store, f"{base}{slash}{rest}"
    except StyleCliError:
        raise
    except ImportError as error:
        raise StyleCliError(
            f"{url} needs a package that is not installed",
            hint=f"pip install '{_PACKAGES[url.scheme]}'",
        ) from error
    except Exception as error:  # each library of a store raises its own kinds
        text = first_line(error)
        if isinstance(error, FileNotFoundError) and text.endswith(url.path):
            text = "there is none"
        prefix = "no permission to" if isinstance(error, PermissionError) else "cannot"
        raise StyleCliError(f"{prefix} {verb} {url}: {text}", hint=_HINT) from error
