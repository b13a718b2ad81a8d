"""A small HTTP server on asyncio that keeps connections alive, bare or under overseer.

web.py bare|overseer PORT
"""

import asyncio
import signal
import socket
import sys

MODE, PORT = sys.argv[1:3]


class Answering(asyncio.Protocol):
    """Answers every request that comes whole in one piece; the load generator sends no other."""

    link: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self.link = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if b"Connection: close" in data:
            self.link.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            self.link.close()
        else:
            self.link.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def serve(listener: socket.socket, leave: asyncio.Event) -> None:
    """Serve until it is time to leave."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, leave.set)
    server = await loop.create_server(Answering, sock=listener, backlog=4096)
    sys.stdout.write("serves 1\n")
    sys.stdout.flush()
    await leave.wait()
    server.close()


if MODE == "overseer":
    import overseer

    async def program(state: overseer.State) -> None:
        """Serve on the listener of the master."""
        loop, leave = asyncio.get_running_loop(), asyncio.Event()
        state.on_drain(lambda: loop.call_soon_threadsafe(leave.set))
        await serve(state.listener, leave)

    overseer.run(program, address=f"127.0.0.1:{PORT}")
else:
    bare = socket.create_server(("127.0.0.1", int(PORT)), backlog=4096)
    bare.setblocking(False)
    asyncio.run(serve(bare, asyncio.Event()))
