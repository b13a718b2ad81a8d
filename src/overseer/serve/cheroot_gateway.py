"""What cheroot tells an application about its request."""

from __future__ import annotations

from typing import Any

from cheroot import wsgi


class Gateway(wsgi.Gateway_10):
    """What an application is told about its request."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        """Return it, with the address that was really called."""
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        here = self.req.conn.socket.getsockname()
        if isinstance(here, tuple):
            environ["SERVER_NAME"], environ["SERVER_PORT"] = here[0], str(here[1])
        else:  # a Unix socket has neither, and WSGI (PEP 3333) wants both
            port = "443" if environ["wsgi.url_scheme"] == "https" else "80"
            environ["SERVER_NAME"], environ["SERVER_PORT"] = "localhost", port
        return environ
