"""A master in a test tube: the heart alone, with a clock that is set by hand."""

from __future__ import annotations

from math import inf

from overseer.facts import (
    Action,
    Asked,
    Event,
    Exited,
    Hello,
    Phase,
    Policy,
    Ready,
    Serve,
    Staged,
    Tick,
    Wish,
    World,
)
from overseer.machine import alarm, step
from overseer.values import replace

RESTART, STOP = Wish.RESTART, Wish.STOP


class Tube:
    """The heart of a master that was just started for release A."""

    def __init__(self, **policy: object) -> None:
        self.policy = replace(Policy(ready_after=inf), **policy)
        self.world = World("A", "A", self.policy)
        self.now = 1000.0
        self.on(Tick())

    def on(self, event: Event) -> list[Action]:
        """Let something happen now; return what is done about it."""
        self.world, actions = step(self.world, event, self.now)
        return actions

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass, waking up when the alarm rings; return what is done meanwhile."""
        end, actions = self.now + seconds, list[Action]()
        while (rings := alarm(self.world, self.now)) <= end:
            self.now = rings
            actions += self.on(Tick())
        self.now = end
        return actions

    def hello(self, generation: int, worker: int = 1, **says: object) -> list[Action]:
        """Let a worker say hello, with a policy that differs from the first one where told."""
        return self.on(Hello(generation, worker, replace(self.policy, **says)))

    def ready(self, generation: int, worker: int = 1) -> list[Action]:
        """Let a worker say that it is ready."""
        return self.on(Ready(generation, worker))

    def exits(self, generation: int, worker: int = 1, status: int = 0) -> list[Action]:
        """Let a worker end."""
        return self.on(Exited(generation, worker, status))

    def restart(self, name: str = "cli") -> list[Action]:
        """Ask for a restart."""
        return self.on(Asked(name, RESTART))

    def stop(self, name: str = "cli") -> list[Action]:
        """Ask for a stop."""
        return self.on(Asked(name, STOP))

    def stage(self, release: str) -> list[Action]:
        """Bring a release."""
        return self.on(Staged(release))

    def up(self, generation: int, **says: object) -> list[Action]:
        """Let all workers of a generation say hello and get ready; return what the last word brings."""
        actions, policy = list[Action](), replace(self.policy, **says)
        for worker in range(1, policy.workers + 1):
            self.on(Hello(generation, worker, policy))
            actions = self.ready(generation, worker)
        assert Serve(generation) in actions
        return actions

    def phases(self) -> dict[int, Phase]:
        """Return the phase of every generation."""
        return {g.number: g.phase for g in self.world.generations}


def serving(**policy: object) -> Tube:
    """Return a master whose first generation serves."""
    tube = Tube(**policy)
    tube.up(1)
    return tube
