"""Events that observers have not been told yet. They are told of a round while the next one trains,
so that no lane waits for them.
"""

from collections.abc import Callable, Collection, Sequence

from sweeps.engine.events import Observer

Event = Callable[[Observer], None]
"""Tells an observer of one thing, as `operator.methodcaller` of a method of `Observer`."""


class Notifications:
    """Tells all observers of events: at once, or later in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._waiting: list[tuple[Event, int | None]] = []

    def now(self, event: Event) -> None:
        """Tell all observers of an event."""
        for observer in self._observers:
            event(observer)

    def later(self, event: Event, number: int | None = None) -> None:
        """Keep an event for `deliver`. `number`: of its trial, where it is of one."""
        self._waiting.append((event, number))

    def deliver(self, numbers: Collection[int] | None = None) -> None:
        """Tell of all events that wait, or of those of these trials."""
        ready = [event for event, number in self._waiting if numbers is None or number in numbers]
        self._waiting = (
            [] if numbers is None else [entry for entry in self._waiting if entry[1] not in numbers]
        )
        for event in ready:
            self.now(event)
