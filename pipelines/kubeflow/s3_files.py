"""TFX's file operations at s3:// and minio://, which it has none for: modules, wheels, and where Pusher pushes.

Credentials and the server are those of every S3 client: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL,
or the role of the machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfx.dsl.io import fileio, filesystem, filesystem_registry

from tfx_edge.components.core.errors import EdgeError

# TFX's own plugin for TensorFlow has 10: it takes s3://, but TensorFlow cannot read there.
_PRIORITY = 5
_SCHEMES = ('s3://', 'minio://')


def is_at_store(path: object) -> bool:
    """Whether a text is a URI that this file system serves."""
    return isinstance(path, str) and path.startswith(_SCHEMES)


def register() -> None:
    """Gives TFX the file system; once or more."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(S3Filesystem, priority=_PRIORITY)


def download(uri: str, folder: str) -> str:
    """Copies a file, or all that lies below a prefix, and returns its path below `folder`.

    Raises:
      EdgeError: there is nothing, or the store does not answer.
    """
    target = os.path.join(folder, os.path.basename(uri.rstrip('/')))
    if not fileio.isdir(uri):
        if not fileio.exists(uri):
            raise EdgeError(f'{uri} does not exist; correct the URI.')
        _copy_file(uri, target)
        return target
    for top, _, names in fileio.walk(uri):
        for name in names:
            _copy_file(os.path.join(top, name), os.path.join(target, os.path.relpath(top, uri), name))
    return target


def _copy_file(source: str, target: str) -> None:
    """Copies one file; it keeps its time, which ExampleGen takes for its data's fingerprint."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with fileio.open(source, 'rb') as reader, open(target, 'wb') as writer:
        while block := reader.read(1 << 20):
            writer.write(block)
    times = fileio.stat(source)
    if isinstance(times, FileStatistics):
        os.utime(target, ns=(times.mtime_nsec, times.mtime_nsec))


@dataclasses.dataclass(frozen=True)
class FileStatistics:
    """What TFX reads of a file, as TensorFlow's file system names it.

    Attributes:
      length: bytes.
      mtime_nsec: when it was written, in nanoseconds since 1970.
      is_directory: whether it is a folder.
      etag: the store's mark of the content; '' where it gives none.
    """

    length: int
    mtime_nsec: int
    is_directory: bool
    etag: str


class S3Filesystem(filesystem.Filesystem):
    """An object store with folders as far as its keys have slashes: making one does nothing."""

    SUPPORTED_SCHEMES = list(_SCHEMES)

    @staticmethod
    def open(name: str, mode: str = 'r') -> Any:
        with _told(name) as store:
            return store.open(_key(name), mode)

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        if not overwrite and fileio.exists(dst):
            raise OSError(f'{dst} exists already; give overwrite=True, or another path.')
        with fileio.open(src, 'rb') as reader, fileio.open(dst, 'wb') as writer:
            while block := reader.read(1 << 20):
                writer.write(block)

    @staticmethod
    def exists(path: str) -> bool:
        with _told(path) as store:
            return store.exists(_key(path))

    @staticmethod
    def glob(pattern: str) -> list[str]:
        with _told(pattern) as store:
            return [_scheme(pattern) + key for key in store.glob(_key(pattern))]

    @staticmethod
    def isdir(path: str) -> bool:
        with _told(path) as store:
            return store.isdir(_key(path))

    @staticmethod
    def listdir(path: str) -> list[str]:
        with _told(path) as store:
            names = [key.rstrip('/').rpartition('/')[2] for key in store.ls(_key(path), detail=False)]
        return sorted(names)

    @staticmethod
    def makedirs(path: str) -> None:
        pass

    @staticmethod
    def mkdir(path: str) -> None:
        pass

    @staticmethod
    def remove(path: str) -> None:
        with _told(path) as store:
            store.rm_file(_key(path))

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        S3Filesystem.copy(src, dst, overwrite)
        fileio.remove(src)

    @staticmethod
    def rmtree(path: str) -> None:
        with _told(path) as store:
            store.rm(_key(path), recursive=True)

    @staticmethod
    def stat(path: str) -> FileStatistics:
        with _told(path) as store:
            found = store.info(_key(path))
        written = found.get('LastModified')
        return FileStatistics(
            length=int(found.get('size') or 0),
            mtime_nsec=round(written.timestamp() * 1e9) if written else 0,
            is_directory=found.get('type') == 'directory',
            etag=str(found.get('ETag', '')).strip('"'),
        )

    @staticmethod
    def walk(
        top: str, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        with _told(top) as store:
            found = [
                (_scheme(top) + folder, sorted(folders), sorted(names))
                for folder, folders, names in store.walk(_key(top))
            ]
        return found if topdown else found[::-1]


@contextlib.contextmanager
def _told(path: str) -> Iterator[Any]:
    """A client; what goes wrong with it names the path."""
    try:
        import s3fs
    except ImportError as error:
        raise EdgeError(f"{path} cannot be reached without s3fs; pip install 'tfx-edge[s3]'.") from error
    try:
        # A listing that is kept would hide what another step wrote.
        yield s3fs.S3FileSystem(use_listings_cache=False)
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(f'{path} does not exist.') from error
    except Exception as error:  # s3fs lets through what its client raises, which is of many kinds
        raise EdgeError(
            f'{path} cannot be reached ({type(error).__name__}); check AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and '
            'AWS_SECRET_ACCESS_KEY, and that they allow it.'
        ) from error


def _scheme(path: str) -> str:
    return path[: path.index('://') + 3]


def _key(path: str) -> str:
    return path[len(_scheme(path)) :]
