"""Renaming and removing where an error may come after the effect: look, compare, decide.

A network file system may lose the answer to a call that was executed: the error then says that
nothing happened (EIO), or describes the second execution (ENOENT, EEXIST). The names say what
counts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from roundtrip.shares.verdicts import Operation, Verdict, during, verdict

_TRIES = 3
_RENAME_NOREPLACE = 1  # linux/fs.h
_CANNOT_REFUSE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def rename(source: int, name: str, target: int, new_name: str, moved: os.stat_result) -> None:
    """Rename without ever replacing; `source` and `target` are descriptors of folders.

    `moved` is how the file looked before, to know it again.

    Raises:
        FileExistsError: `new_name` is taken.
        OSError: it was not renamed, or nobody can tell.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            _rename_once(source, name, target, new_name)
        except OSError as error:
            look = verdict(Operation.RENAME, error.errno) is Verdict.LOOK
            if look and _has_moved(source, name, target, new_name, moved):
                return
            if not _again(Operation.RENAME, error, tries_left):
                raise during(Operation.RENAME, error) from None
        else:
            return


def remove(folder: int, name: str) -> bool:
    """Remove `name` from the folder of descriptor `folder`; False if it wasn't there.

    Where the answer was lost and the call sent again, False is said of a name that we removed.

    Raises:
        OSError: it is still there, or nobody can tell.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            if verdict(Operation.UNLINK, error.errno) is Verdict.LOOK and _is_gone(folder, name):
                return True
            if not _again(Operation.UNLINK, error, tries_left):
                raise during(Operation.UNLINK, error) from None
        else:
            break
    return True


def _again(operation: Operation, error: OSError, tries_left: int) -> bool:
    after = verdict(operation, error.errno, looked=True)
    return after is Verdict.RETRY and tries_left > 0


def _has_moved(source: int, name: str, target: int, new_name: str, moved: os.stat_result) -> bool:
    """Whether the file that `moved` describes is at its new name, and only there."""
    try:
        old, new = _look(source, name), _look(target, new_name)
        if new is None or not _is_same(new, moved):
            return False
        if old is not None:
            if not _is_one_inode(new, old):
                return False
            # Some servers rename by link and unlink, and failed in between: finish it.
            os.unlink(name, dir_fd=source)
    except OSError:
        return False  # Nobody can tell; the error that made us look is the one to tell.
    return True


def _is_gone(folder: int, name: str) -> bool:
    try:
        return _look(folder, name) is None
    except OSError:
        return False  # As above.


def _look(folder: int, name: str) -> os.stat_result | None:
    """What the other host says of `name` now, not what this host's caches remember."""
    # Opening a folder makes an NFS client ask the server whether it has changed (close-to-open
    # consistency, nfs(5)); names that are cached are then looked up again.
    os.close(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder))
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_one_inode(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _is_same(found: os.stat_result, moved: os.stat_result) -> bool:
    """FUSE may number a file anew when its path changes: then size and time must do."""
    if not stat.S_ISREG(found.st_mode) or found.st_size != moved.st_size:
        return False
    return _is_one_inode(found, moved) or found.st_mtime_ns == moved.st_mtime_ns


def _rename_once(source: int, name: str, target: int, new_name: str) -> None:
    try:
        rename_without_replacing(source, name, target, new_name)
    except OSError as error:
        if error.errno not in _CANNOT_REFUSE:
            raise
        # This file system can't refuse by itself (FUSE, SMB, NFS): look first. Names on shares
        # have one writer, so nobody comes in between.
        _rename_after_looking(source, name, target, new_name)


def _rename_after_looking(source: int, name: str, target: int, new_name: str) -> None:
    try:
        os.stat(new_name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)


_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2


def rename_without_replacing(source: int, name: str, target: int, new_name: str) -> None:
    """renameat2(2) with RENAME_NOREPLACE, which Python's `os` doesn't offer.

    Args are the descriptors of the two folders and the two names.

    Raises:
        FileExistsError: `new_name` is taken.
        OSError: as renameat2(2); EINVAL where the file system can't do it.
    """
    old, new = os.fsencode(name), os.fsencode(new_name)
    if _renameat2(source, old, target, new, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name, None, new_name)
