"""The smallest server there is, bare or under overseer.

    tiny.py MODE PORT [LISTENERS [WORKERS [IMPORT]]]

MODE is `bare`, `imports` (bare, but it imports overseer) or `overseer`. It answers every connection with its
generation. IMPORT is how many seconds it takes before it knows what to do, as a real program's imports do.
Once it serves it writes a line to standard output. Listeners are on 127.0.x.y, all with the same port.
"""

import socket
import sys
import time

MODE, PORT, LISTENERS, WORKERS, IMPORT = (*sys.argv[1:], *("1", "1", "0")[len(sys.argv) - 3 :])
HOSTS = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(int(LISTENERS))]

if float(IMPORT):
    time.sleep(float(IMPORT))  # the one thing here that must take its time


def serve(listener: socket.socket, name: str) -> None:
    """Answer whoever comes, one after the other."""
    sys.stdout.write(f"serves {name}\n")
    sys.stdout.flush()
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nX-Generation: {name}\r\n\r\n"
    while True:
        connection, _ = listener.accept()
        with connection:
            if connection.recv(65536):
                connection.sendall(answer.encode())


if MODE == "overseer":
    import overseer

    overseer.run(
        lambda state: serve(state.listener, str(state.generation)),
        addresses=[f"{host}:{PORT}" for host in HOSTS],
        workers=int(WORKERS),
    )
else:
    if MODE == "imports":
        import overseer
    listeners = [socket.create_server((host, int(PORT)), reuse_port=True) for host in HOSTS]
    serve(listeners[0], "1")
