"""Programs that restart without being noticed, upgrade themselves, and roll back when a release is bad.

import overseer

def program(state: overseer.State) -> None: ...

overseer.run(program, address=":3000")
"""

from overseer import role as _role  # noqa: F401 - first: it takes the private variables away
from overseer import serve
from overseer.config import Config, Unsigned
from overseer.entry import restart, run, run_err, sanity_check
from overseer.errors import (
    AddressError,
    CheckError,
    ConfigError,
    FetchError,
    ListenerDrainingError,
    NotSupportedError,
    OverseerError,
    ProtocolError,
    StoreError,
)
from overseer.launch import is_supported
from overseer.program.draining import Draining
from overseer.program.listener import Listener
from overseer.program.shelf import Stored
from overseer.program.state import DISABLED_STATE, State
from overseer.trust.tuf import TUF
from overseer.version import VERSION
from overseer.voice import prepare as _prepare

_prepare()

__version__ = VERSION

__all__ = [
    "DISABLED_STATE",
    "TUF",
    "AddressError",
    "CheckError",
    "Config",
    "ConfigError",
    "Draining",
    "FetchError",
    "Listener",
    "ListenerDrainingError",
    "NotSupportedError",
    "OverseerError",
    "ProtocolError",
    "State",
    "StoreError",
    "Stored",
    "Unsigned",
    "__version__",
    "is_supported",
    "restart",
    "run",
    "run_err",
    "sanity_check",
    "serve",
]
