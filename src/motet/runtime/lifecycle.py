"""Lifecycles as tables: which event leads from which state to which."""

from __future__ import annotations

from collections.abc import Mapping

from motet.errors import MotetError

Table = Mapping[str, Mapping[str, str]]

# A replica, as its supervisor and its callers see it.
REPLICA: Table = {
    "starting": {"started": "ready", "failed": "failed", "died": "dead", "stop": "stopping", "end": "ending"},
    "ready": {"drain": "draining", "died": "dead", "stop": "stopping", "end": "ending"},
    "draining": {"stop": "stopping", "died": "dead", "drained": "stopping", "end": "ending"},
    "ending": {"died": "dead"},
    "stopping": {"died": "dead", "stopped": "dead"},
    "failed": {"died": "dead", "stop": "dead"},
    "dead": {},
}

# All replicas of one node together.
SLOT: Table = {
    "starting": {"first ready": "running", "gave up": "failed", "delete": "deleting"},
    "running": {"all died": "starting", "gave up": "failed", "delete": "deleting"},
    "failed": {"retry": "starting", "delete": "deleting"},
    "deleting": {"deleted": "deleted"},
    "deleted": {},
}


class IllegalMove(MotetError):
    """An event that the lifecycle doesn't allow in this state; nothing was changed."""


class Lifecycle:
    """A state that changes only as its table allows."""

    __slots__ = ("_table", "owner", "state")

    def __init__(self, table: Table, state: str, *, owner: str) -> None:
        self._table = table
        self.state = state
        self.owner = owner

    def allows(self, event: str) -> bool:
        """Whether `event` may happen now."""
        return event in self._table[self.state]

    def move(self, event: str) -> str:
        """Change the state by `event` and return the new one.

        Raises:
            IllegalMove: the table has no such move; the state stays.
        """
        moves = self._table[self.state]
        if event not in moves:
            message = f"{self.owner}: '{event}' can't happen in the state '{self.state}'"
            raise IllegalMove(message, instead="one of: " + ", ".join(moves) if moves else "nothing: this state is final")
        self.state = moves[event]
        return self.state
