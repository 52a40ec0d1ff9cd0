"""Lifecycles move only as their tables allow."""

import pytest

from motet.runtime.lifecycle import REPLICA, SLOT, IllegalMove, Lifecycle

TABLES = {"replica": REPLICA, "slot": SLOT}
EVENTS = {name: sorted({event for moves in table.values() for event in moves}) for name, table in TABLES.items()}
MOVES = [(name, state, event) for name, table in TABLES.items() for state in table for event in EVENTS[name]]


@pytest.mark.parametrize(("name", "state", "event"), MOVES)
def test_every_move(name, state, event):
    """A move that the table has leads where it says; any other names state and event and changes nothing."""
    table = TABLES[name]
    lifecycle = Lifecycle(table, state, owner="it")
    if event in table[state]:
        assert lifecycle.allows(event)
        assert lifecycle.move(event) == lifecycle.state == table[state][event]
    else:
        assert not lifecycle.allows(event)
        with pytest.raises(IllegalMove, match="it") as caught:
            lifecycle.move(event)
        assert repr(event) in str(caught.value)
        assert repr(state) in str(caught.value)
        assert lifecycle.state == state


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_closed(name):
    """Every state that a move leads to is in the table, every state is reached, and one is final."""
    table = TABLES[name]
    reached = {to for moves in table.values() for to in moves.values()}
    assert reached <= set(table)
    assert set(table) - reached <= {"starting"}
    assert [state for state, moves in table.items() if not moves]
