"""When a replica that died is replaced."""

import pytest

from motet.engines.local.restarts import Restarts


def delays(*lived, **options):
    restarts = Restarts()
    return [restarts.delay(each, **{"first": False, "raised": False, **options}) for each in lived]


@pytest.mark.parametrize(
    ("lived", "expected"),
    [
        ([1] * 9, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]),
        ([1, 1, 60, 1], [0.1, 0.2, 0.1, 0.2]),
        ([None] * 5, [0.1, 0.2, 0.4, 0.8, None]),
    ],
)
def test_waits(lived, expected):
    """Each is longer than that before, until one has run for long; those that don't start are given up."""
    assert delays(*lived) == pytest.approx(expected)


def test_first_start():
    """Whoever deploys hears of an exception at once; a death may have been chance."""
    assert delays(None, first=True, raised=True) == [None]
    assert delays(None, None, first=True) == [pytest.approx(0.1), None]


def test_a_start_that_succeeds():
    """Failed starts count in a row."""
    restarts = Restarts()
    for _ in range(4):
        restarts.delay(None, first=False, raised=True)
    restarts.started()
    assert restarts.delay(None, first=False, raised=True) is not None
