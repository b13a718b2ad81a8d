"""What a load balancer asks, answered beside the application: does it live, and is it ready.

Readiness is the service's, not the generation's: while one generation drains because another serves, the
answer is still yes, so that no balancer takes this host out for a restart. It is no when the whole service
stops. (Kubernetes tells the two apart as liveness and readiness probes.)
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from overseer.program.state import State

_ASKED = ("GET", "HEAD")


class Health:
    """The paths that are asked, and what they are answered."""

    def __init__(self, state: State, live: str, ready: str) -> None:
        for name, path in (("live", live), ("ready", ready)):
            if path and not path.startswith("/"):
                raise ConfigError(name, f"is a path, so it begins with a slash: {path!r}")
        if live and live == ready:
            raise ConfigError("ready", f"is the path of live, too: {ready}")
        self._state = state
        self._live = live
        self._ready = ready

    def __bool__(self) -> bool:
        """Whether anything is answered."""
        return bool(self._live or self._ready)

    def answer(self, method: str, path: str) -> tuple[HTTPStatus, bytes] | None:
        """Return the status and the body for who asks here; nothing for everybody else."""
        if method not in _ASKED or not path or path not in (self._live, self._ready):
            return None
        draining = self._state.draining
        leaves = path == self._ready and draining.stops
        told = {
            "status": "stopping" if leaves else "ok",
            "generation": self._state.generation,
            "worker": self._state.worker,
            "version": self._state.version,
            "release": self._state.id,
            "draining": draining.is_set(),
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if leaves else HTTPStatus.OK
        return status, json.dumps(told).encode() + b"\n"


def headers(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of an answer, which no cache may keep."""
    return [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]


def asgi(app: Any, health: Health) -> Any:
    """Return an ASGI application that answers before `app` does."""
    if not health:
        return app
    if isinstance(app, str):
        raise ConfigError("live", f"and ready need the application itself, not its name {app!r}")

    async def answering(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        answer = scope["type"] == "http" and health.answer(scope["method"], scope["path"])
        if not answer:
            await app(scope, receive, send)
            return
        status, body = answer
        fields = [(name.encode(), value.encode()) for name, value in headers(body)]
        await send({"type": "http.response.start", "status": int(status), "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answering


def wsgi(app: Any, health: Health) -> Any:
    """Return a WSGI application that answers before `app` does."""
    if not health:
        return app

    def answering(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        answer = health.answer(environ["REQUEST_METHOD"], path)
        if not answer:
            taken: Iterable[bytes] = app(environ, start_response)
            return taken
        status, body = answer
        start_response(f"{int(status)} {status.phrase}", headers(body))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    return answering
