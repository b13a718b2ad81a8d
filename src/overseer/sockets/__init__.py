"""The listening sockets: bound once, by the master, and listening from that moment on.

Whoever connects is queued by the kernel until a generation accepts, so a restart loses nobody. Descriptors
are non-blocking (the flag belongs to the socket, hence to all processes that hold it; the program's
`Listener` waits by itself) and close at exec. Nothing here calls `shutdown()`, and a path is removed only by
`unlink_if_ours`, at the final stop.
"""

from overseer.sockets.binding import apply_options, bind, open_at, warnings_for
from overseer.sockets.bound import BoundSocket, adopt, describe, file_of, unlink_if_ours
from overseer.sockets.inherited import activated, take_inherited
from overseer.sockets.kept import Kept, name_kept, take_back
from overseer.sockets.patience import bind_patiently, holders

__all__ = [
    "BoundSocket",
    "Kept",
    "activated",
    "adopt",
    "apply_options",
    "bind",
    "bind_patiently",
    "describe",
    "file_of",
    "holders",
    "name_kept",
    "open_at",
    "take_back",
    "take_inherited",
    "unlink_if_ours",
    "warnings_for",
]
