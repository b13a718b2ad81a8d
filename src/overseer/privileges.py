"""From root to the user of the service: who that is, and that there is no way back.

The first process binds what only root may bind, and becomes the user for good before it becomes the master
(`docs/decisions/0016-privileges.md`). So the master, the generations and the updater are all the user's, and
what an upgrade brings is never executed as root. One hole remains, and is closed here: at the next start root
executes the program again, so nothing that root executes or imports may be the user's to change.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping, Sequence

_OF_ANOTHER = (
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "MAIL",
)
"""Variables that lead to folders of whoever started us."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the kernel knows him, and what he has in his environment."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Do something with the rights of the user, in a process that stays root."""
        group, groups = os.getegid(), os.getgroups()
        try:
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(group)
            os.setgroups(groups)

    def become(self, *environs: MutableMapping[str, str]) -> None:
        """Become the user for good, and let these environments say so.

        Raises `ConfigError` where the system does not let us, or leaves a way back.
        """
        try:
            os.setgroups(self.groups)
            os.setgid(self.gid)
            os.setuid(self.uid)  # as root it sets all three, and all capabilities go with them
        except OSError as error:
            raise _refused(self.name, error) from error
        if not _is(self.uid, self.gid) or _can_go_back():
            raise ConfigError(
                "user", f"this system has not let go of root's rights when it became {self.name}"
            )
        for environ in environs:
            environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name, SHELL=self.shell)
            for name in _OF_ANOTHER:
                environ.pop(name, None)

    def may_write(self, folder: str) -> bool:
        """Tell whether the user can put files into a folder, or change where its path leads."""
        spellings = (os.path.abspath(folder), os.path.realpath(folder))
        parts = {part for spelling in spellings for part in _upwards(spelling)}
        with self.acting():
            return os.access(folder, os.W_OK, effective_ids=True) or any(
                _is_in_hands(self.uid, part) for part in parts
            )


def find(user: str, group: str) -> Identity | None:
    """Return whom to become; None where nobody is asked for, and where we are that already.

    Raises `ConfigError`: there is no such user or group, or we are not root.
    """
    if not user:
        return None
    found = _look_up(user, group)
    if os.geteuid() != 0:
        if os.getuid() == os.geteuid() == found.uid and (not group or os.getegid() == found.gid):
            return None
        raise ConfigError(
            "user",
            f"uid {os.geteuid()}, gid {os.getegid()} is not {user} (uid {found.uid}, gid {found.gid}) and "
            "cannot become it; start it as root, or leave user away",
        )
    if found.uid == 0:
        raise ConfigError("user", f"{user} is root, which is to be left; name another")
    return found


def _look_up(user: str, group: str) -> Identity:
    import grp  # noqa: PLC0415 - only where there is a user; exists where there can be a master
    import pwd  # noqa: PLC0415

    try:
        if group:
            gid = int(group) if _is_number(group) else grp.getgrnam(group).gr_gid
    except (KeyError, UnicodeError):
        raise ConfigError("group", f"there is no group {group!r} on this machine") from None
    try:
        entry = pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
    except (KeyError, UnicodeError, OverflowError):
        if not (_is_number(user) and group and 0 < int(user) < 2**32 - 1):
            more = "; a number needs a group beside it" if _is_number(user) else ""
            raise ConfigError("user", f"there is no user {user!r} on this machine{more}") from None
        return Identity(user, int(user), gid, (gid,), "/", "/bin/sh")
    if not group:
        gid = entry.pw_gid
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Identity(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir, entry.pw_shell or "/bin/sh")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is(uid: int, gid: int) -> bool:
    return (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) == (uid, uid, gid, gid)


def _can_go_back() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def _refused(name: str, error: OSError) -> ConfigError:
    return ConfigError(
        "user",
        f"the system does not let root become {name} ({error.strerror}): CAP_SETUID or CAP_SETGID is missing",
    )


def refuse_to_trust(who: Identity, read: Sequence[str]) -> None:
    """See that nothing that root has executed, imported or `read` so far could be changed by the user.

    `read` are files, whether they are there or not.

    Raises `ConfigError`, which names the first that could be, or the first that the user cannot even read.
    """
    files = {sys.executable, os.path.join(sys.prefix, "pyvenv.cfg"), *read}
    folders = {path or "." for path in sys.path if os.path.isdir(path or ".")}
    for module in list(sys.modules.values()):
        files |= {getattr(module, name, None) or "" for name in ("__file__", "__cached__")}
    files -= {""}
    # What is not there, a file of options or compiled code, may be put there.
    folders |= {_what_is_there(path) for path in files if not os.path.exists(path)}
    try:
        with who.acting():
            _look_through(who, files, folders)
    except OSError as error:
        raise _refused(who.name, error) from error


def _look_through(who: Identity, files: Iterable[str], folders: Iterable[str]) -> None:
    for path in (sys.executable, getattr(sys.modules["__main__"], "__file__", None)):
        real = os.path.realpath(path) if path else ""
        if real and os.path.exists(real) and not os.access(real, os.R_OK, effective_ids=True):
            raise ConfigError("user", f"{who.name} may not read {path}, which is to be run as {who.name}")
    seen: dict[str, bool] = {}
    for path in sorted(folders):
        if os.access(path, os.W_OK, effective_ids=True):
            raise _dangerous(who, os.path.abspath(path), "what lies there")
    for path in sorted({*files, *folders}):
        for spelling in {os.path.abspath(path), os.path.realpath(path)}:
            for part in _upwards(spelling):
                if part not in seen:
                    seen[part] = _is_in_hands(who.uid, part)
                if seen[part]:
                    raise _dangerous(who, part, path)


def _what_is_there(path: str) -> str:
    return next(above for above in _upwards(os.path.abspath(path)) if os.path.exists(above))


def _upwards(path: str) -> Iterator[str]:
    yield path
    while (above := os.path.dirname(path)) != path:
        path = above
        yield path


def _is_in_hands(uid: int, path: str) -> bool:
    """Tell whether the user could put something else in the place of a path, or of what is in it."""
    try:
        found = os.lstat(path)
    except OSError:  # nothing there, or inside of an archive: what is above it counts
        return False
    if stat.S_ISLNK(found.st_mode):  # nobody can write to a link; where it lies counts, and where it leads
        return False
    if found.st_uid == uid:
        return True
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX  # others' files are safe in there
    return not sticky and os.access(path, os.W_OK, effective_ids=True)


def _dangerous(who: Identity, part: str, executed: str) -> ConfigError:
    return ConfigError(
        "user",
        f"{who.name} may write to {part}, and root executes {executed} at each start, so {who.name} could "
        "become root; let it belong to root, or have the service manager change the user (User= of systemd)",
    )
