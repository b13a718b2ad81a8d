"""A page in a real browser, over restarts: what it fetches, its WebSockets, its stream of events."""

from __future__ import annotations

import importlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.service import Service, until
from tests.process.test_serve import ASGI
from tests.process.test_serve_aiohttp import AIOHTTP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.long, pytest.mark.very_long]

SOCKETS = 3

SCRIPT = """
() => {
    const seen = window.seen = {
        fetched: 0, newest: 0, failed: [], opened: 0, echoed: 0, unanswered: 0, closes: [],
        events: 0, streams: 0
    };
    const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
    const ask = async (pause) => {
        for (let number = 0; !window.over; number += 1) {
            try {
                const answer = await fetch(`/?${pause}-${number}`, {cache: "no-store"});
                const [generation] = (await answer.text()).split(" ");
                if (answer.ok) seen.fetched += 1; else seen.failed.push(answer.status);
                seen.newest = Math.max(seen.newest, Number(generation));
            } catch (error) {
                seen.failed.push(`fetch after ${pause} s: ${error}`);
            }
            await sleep(pause);
        }
    };
    const talk = () => {
        const socket = new WebSocket(`ws://${location.host}/ws`);
        let opened = false, unanswered = 0;
        socket.onopen = () => {
            opened = true;
            seen.opened += 1;
            const timer = setInterval(() => {
                if (socket.readyState !== WebSocket.OPEN) return clearInterval(timer);
                unanswered += 1;
                socket.send(`${unanswered}`);
            }, 20);
        };
        socket.onmessage = () => { seen.echoed += 1; unanswered -= 1; };
        socket.onclose = (event) => {
            if (window.over) return;
            seen.closes.push([event.code, event.wasClean, opened]);
            seen.unanswered += unanswered;
            talk();
        };
    };
    const stream = new EventSource("/events");
    stream.onopen = () => { seen.streams += 1; };
    stream.onmessage = () => { seen.events += 1; };
    stream.onerror = () => {
        if (stream.readyState === EventSource.CLOSED) seen.failed.push("no more events");
    };
    for (const pause of [0, 0.05, 0.5, 2]) ask(pause);
    for (let number = 0; number < SOCKETS; number += 1) talk();
}
""".replace("SOCKETS", str(SOCKETS))


@pytest.fixture
def page() -> Iterator[Any]:
    """Open an empty page in Chromium."""
    chromium = shutil.which("chromium")
    try:
        playwright = importlib.import_module("playwright.sync_api")
    except ModuleNotFoundError:
        playwright = None
    if not (chromium and playwright):
        pytest.skip(
            "no chromium, or no playwright to lead it, so nothing is proven with a browser: make browser"
        )
    with playwright.sync_playwright() as led:
        browser = led.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize("source", [ASGI, AIOHTTP], ids=["asgi", "aiohttp"])
def test_a_page_stays_alive(service: Callable[..., Service], page: Any, source: str) -> None:
    """Nothing that it fetches fails, its WebSockets are closed with 1012 and open again at once.

    A browser asks again by itself when a connection that it had kept ends before the answer, and does not say
    so: what it fetches proves less here than the other clients do, its WebSockets prove more.
    """
    app = service(source.replace("LINGER", "2").replace("PAUSE", "0.05"), max_draining=50).serves()
    page.goto(f"http://127.0.0.1:{app.port}/")
    page.evaluate(SCRIPT)

    def seen() -> Any:
        return page.evaluate("seen")

    until(lambda: seen()["opened"] == SOCKETS, "its WebSockets are open")
    for number in range(2, 22):
        assert app.restart() == number
        until(lambda number=number: seen()["newest"] == number, f"{number} answers")  # type: ignore[misc]
        until(lambda number=number: seen()["opened"] >= number * SOCKETS, "they are open again")  # type: ignore[misc]
    page.evaluate("() => { window.over = true }")
    found = seen()
    print({name: count for name, count in found.items() if isinstance(count, int)})
    assert found["failed"] == []
    assert found["closes"] == [[1012, True, True]] * (20 * SOCKETS)
    assert found["fetched"] > 100
    assert found["echoed"] > 100
    assert found["events"] > 0
