"""The ledger gives out what there is, once, and says exactly what there isn't."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.engines.hardware import Machine
from motet.engines.local.ledger import Ask, Ledger, thousandths
from motet.errors import StartError, UsageError
from motet.options import Resources


def machine(**changes):
    return Machine(**{"cores": (0, 1, 2, 3), "cpus": 4.0, "memory": 8 * 2**30, **changes})


def ask(service="Model", replicas=1, **resources):
    return Ask(service=service, place="app.py:7", resources=Resources(**resources), replicas=replicas)


def refused(ledger, *asks, **options):
    before = ledger.status()
    with pytest.raises(StartError) as caught:
        ledger.reserve(asks, **options)
    assert ledger.status() == before
    return caught.value


def reserved(ledger):
    return {status.name: status.reserved for status in ledger.status()}


@st.composite
def resources(draw):
    fraction = st.integers(1, 1000).map(lambda part: part / 1000)
    wanted = {
        "cpus": st.integers(0, 3000).map(lambda part: part / 1000),
        "gpus": st.one_of(fraction, st.integers(0, 3).map(float)),
        "memory": st.integers(1, 4 * 2**30),
        "custom": st.dictionaries(st.sampled_from(["a", "b"]), fraction),
    }
    chosen = {name: draw(values) for name, values in wanted.items() if draw(st.booleans())}
    if draw(st.booleans()):
        chosen |= {"affinity": True, "cpus": float(draw(st.integers(1, 3)))}
    return chosen


@given(
    steps=st.lists(
        st.one_of(st.integers(0, 9), st.lists(st.tuples(resources(), st.integers(1, 3)), min_size=1, max_size=3)), min_size=1, max_size=12
    ),
    cards=st.integers(0, 4),
)
def test_nothing_is_given_out_twice(steps, cards):
    """Whatever is reserved and released: no card, core or amount is given out beyond what there is, and in the end all is free."""
    there = machine(cards=tuple(f"GPU-{number}" for number in range(cards)), custom={"a": 1.0, "b": 0.5})
    ledger, held = Ledger(there), []
    for step in steps:
        if isinstance(step, int):
            if held:
                ledger.release(held.pop(step % len(held)))
        else:
            asks = [ask(f"S{number}", replicas, **wanted) for number, (wanted, replicas) in enumerate(step)]
            before = ledger.status()
            try:
                made = ledger.reserve(asks)
            except StartError:
                assert ledger.status() == before
            else:
                assert [len(reservation.placements) for reservation in made] == [each.replicas for each in asks]
                held += made
        check(there, [placement for reservation in held for placement in reservation.placements])
        assert all(0 <= status.reserved <= status.total for status in ledger.status())
    for reservation in held:
        ledger.release(reservation)
    assert set(reserved(ledger).values()) == {0}


def check(there, placements):
    cores = [core for placement in placements for core in placement.cores]
    assert len(cores) == len(set(cores))
    assert set(cores) <= set(there.cores)
    for card in there.cards:
        shares = [min(1000, thousandths(placement.gpus)) for placement in placements if card in placement.cards]
        assert sum(shares) <= 1000
    for placement in placements:
        gpus = placement.gpus or 0
        assert len(placement.cards) == (1 if 0 < gpus < 1 else int(gpus))


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 1 / 3, 0.7]), max_size=30))
def test_sums_do_not_drift(parts):
    """What was reserved in parts is free again to the last thousandth."""
    ledger = Ledger(machine(custom={"tokens": 100.0}))
    held = [ledger.reserve([ask(custom={"tokens": part})])[0] for part in parts]
    for reservation in held:
        ledger.release(reservation)
        ledger.release(reservation)
    ledger.reserve([ask(custom={"tokens": 100})])


def test_three_thirds_share_a_card():
    ledger = Ledger(machine(cards=("7",)))
    (thirds,) = ledger.reserve([ask(replicas=3, gpus=1 / 3)])
    assert {placement.cards for placement in thirds.placements} == {("7",)}


def test_fractions_fill_the_fullest_card():
    """So that others stay whole."""
    ledger = Ledger(machine(cards=("0", "1", "2")))
    first, half, quarter = ledger.reserve([ask("A", gpus=0.6), ask("B", gpus=0.5), ask("C", gpus=0.5)])
    assert [reservation.placements[0].cards for reservation in (first, half, quarter)] == [("0",), ("1",), ("1",)]
    (whole,) = ledger.reserve([ask("D", gpus=1)])
    assert whole.placements[0].cards == ("2",)


def test_large_ones_are_placed_before_small_ones():
    """In the order of the graph the halves would have stood in the way of the whole."""
    ledger = Ledger(machine(cards=("0", "1")))
    ledger.reserve([ask("A", gpus=0.4), ask("B", gpus=0.5), ask("C", gpus=0.6), ask("D", gpus=0.5)])
    assert reserved(ledger)["gpus"] == 2


def test_logical_gpus_are_no_cards():
    ledger = Ledger(machine(logical_gpus=1))
    (reservation,) = ledger.reserve([ask(replicas=2, gpus=0.5)])
    assert [(p.cards, p.real_cards) for p in reservation.placements] == [(("logical0",), ())] * 2


def test_undeclared_is_not_counted():
    """A replica that declares nothing shares what there is; declaring the default reserves it."""
    ledger = Ledger(machine(cpus=1.0))
    (reservation,) = ledger.reserve([ask(replicas=10)])
    assert set(reserved(ledger).values()) == {0}
    assert reservation.placements[0].gpus is None
    ledger.reserve([ask(cpus=1, gpus=0)])
    assert reserved(ledger) == {"cpus": 1, "gpus": 0, "memory": 0}


def test_affinity_gives_cores_of_ones_own():
    ledger = Ledger(machine())
    one, two = ledger.reserve([ask("A", affinity=True), ask("B", affinity=True, cpus=2)])
    assert (one.placements[0].cores, two.placements[0].cores) == ((0,), (1, 2))
    assert reserved(ledger)["cpus"] == 3
    error = refused(ledger, ask("C", affinity=True, cpus=2))
    assert "C asks for cpus=2; the machine has 4, of which 1 is free (A holds 1, B holds 2)" in error.message


def test_more_cpus_than_cores():
    """An operator may say that there are more, and cores of one's own are still those that there are."""
    ledger = Ledger(machine(cores=(0,)).declared({"cpus": 8.0}))
    error = refused(ledger, ask(affinity=True, cpus=2))
    assert "asks for cores for affinity=True=2; the machine has 1" in error.message


def test_refusal_says_all_of_it():
    """Each shortfall, what is asked for, what there is, who holds it, and what to write."""
    ledger = Ledger(machine(logical_gpus=1))
    ledger.reserve([ask("Detector", gpus=0.5)])
    error = refused(ledger, ask("Chat", 2, gpus=1), ask("Index", memory="20GiB", cpus=5), ask("Small", cpus=1))
    assert error.message.splitlines() == [
        "there is no room for Chat, Index:",
        (
            "  Chat asks for gpus=1 for each of 2 replicas, 2 in all; "
            "the machine has 1, of which 0.5 of card logical0 is free (Detector holds 0.5)"
        ),
        "  Index asks for cpus=5; the machine has 4, of which 4 is free",
        "  Index asks for memory=20 GiB; the machine has 8 GiB, of which 8 GiB is free",
    ]
    assert "fewer replicas" in error.instead
    assert "motet serve --resources cpus=6,memory=20480MiB,gpus=3" in error.instead


def test_what_is_lacking_altogether():
    error = refused(Ledger(machine()), ask(custom={"accelerator": 2}, gpus=0.5))
    assert "Model asks for gpus=0.5, and the machine has none" in error.message
    assert "Model asks for accelerator=2, and the machine has none" in error.message
    assert error.where == "app.py:7"


def test_real_cards_are_not_declared_away():
    """More cards than there are can't be declared; one that has one isn't told to."""
    error = refused(Ledger(machine(cards=("0",))), ask(gpus=2))
    assert "--resources" not in error.instead
    assert "gpus=0.5" in error.instead
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        machine(cards=("0",)).declared({"gpus": 2})
    assert machine(cards=("0", "1")).declared({"gpus": 1}).cards == ("0",)


@given(st.lists(st.tuples(resources(), st.integers(1, 4)), min_size=1, max_size=4), st.integers(0, 2))
def test_what_the_refusal_says_is_enough(wanted, gpus):
    """A machine that has what the message says takes them; only cores can't be declared."""
    asks = [ask(f"S{number}", replicas, **{**each, "affinity": False}) for number, (each, replicas) in enumerate(wanted)]
    there = machine(logical_gpus=gpus)
    try:
        Ledger(there).reserve(asks)
    except StartError as error:
        said = re.search("--resources (.*)`", error.instead).group(1)
        amounts = dict(each.split("=") for each in said.split(","))
        numbers = {name: int(text.removesuffix("MiB")) * 2**20 if name == "memory" else float(text) for name, text in amounts.items()}
        Ledger(there.declared({"gpus": gpus, **numbers})).reserve(asks)


def test_a_refusal_of_very_many():
    """What would be enough isn't found by trying all numbers below."""
    error = refused(Ledger(machine()), ask(gpus=50_000), ask("Other", gpus=0.5))
    assert "gpus=50001`" in error.instead


def test_in_the_place_of_another():
    """A new version takes the place of the old one; both are held until one of them is released."""
    ledger = Ledger(machine(cards=("0",)))
    (old,) = ledger.reserve([ask("Old", gpus=1)])
    refused(ledger, ask("New", gpus=1))
    (new,) = ledger.reserve([ask("New", gpus=1)], instead_of=[old])
    assert new.placements == old.placements
    refused(ledger, ask("Third", gpus=0.1))
    ledger.release(old)
    assert reserved(ledger)["gpus"] == 1
    ledger.release(new)
    ledger.check([ask("Third", gpus=1)])
    assert reserved(ledger)["gpus"] == 0
