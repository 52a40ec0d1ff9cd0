"""When replicas that died are replaced: soon, later each time, and at some point no more."""

from __future__ import annotations

FIRST_BACKOFF = 0.1  # s; doubles with each death in a row
MAX_BACKOFF = 10.0  # s
STEADY = 10.0  # s that a replica must have run for its death not to count as one in a row
GIVEN_UP_RETRY = 60.0  # s until a missing replica is tried again where others of its node run
MAX_FAILED_STARTS = 5  # in a row, after which the slot gives up
MAX_FIRST_FAILED_STARTS = 2  # deaths (not exceptions, which repeat) at the first start, after which a deployment fails


class Restarts:
    """Counts the deaths of a slot's replicas.

    Attributes:
        failed_starts: in a row.
    """

    def __init__(self) -> None:
        self.failed_starts = 0
        self._deaths = 0

    def started(self) -> None:
        """Note that a replica takes requests, or that replicas are tried for another reason than a death."""
        self.failed_starts = 0

    def delay(self, lived: float | None, *, first: bool, raised: bool) -> float | None:
        """Note a death and return in how many seconds another replica is started; None to give up.

        Args:
            lived: seconds for which the replica took requests; None where it didn't start.
            first: the node hasn't come up yet.
            raised: its constructor failed.
        """
        self._deaths = 1 if lived is not None and lived >= STEADY else self._deaths + 1
        self.failed_starts += lived is None
        if first and (raised or self.failed_starts >= MAX_FIRST_FAILED_STARTS):
            return None
        if self.failed_starts >= MAX_FAILED_STARTS:
            return None
        return min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** (self._deaths - 1))
