"""Options are validated, frozen, and say where a wrong one was written."""

import pickle

import pytest

import motet
from motet.amounts import parse_bytes
from motet.errors import DefinitionError
from motet.options import Config


class Leaf(motet.Service):
    config = motet.Config(timeout=5, queue=7)

    @motet.endpoint
    def f(self) -> int:
        return 1

    @motet.endpoint(timeout=3, idempotent=True)
    def g(self) -> int:
        return 1


def test_defaults():
    """The defaults are those of the documentation."""
    config = motet.Config()
    assert (config.timeout, config.queue, config.drain, config.idempotent, config.concurrency) == (60, 1000, 30, False, None)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: motet.Config(timeout=0), "timeout"),
        (lambda: motet.Config(timeout=float("inf")), "timeout"),
        (lambda: motet.Config(queue=-1), "queue"),
        (lambda: motet.Config(concurrency=0), "concurrency"),
        (lambda: motet.Config(replicas=0), "replicas"),
        (lambda: motet.Config(timeoutt=3), "timeout=..."),
        (lambda: motet.Resources(cpus=-1), "cpus"),
        (lambda: motet.Resources(memory="lots"), "512MiB"),
        (lambda: motet.Resources(gpus=1.5), "write 1, 2, or less than 1"),
        (lambda: motet.Resources(cpus=1.5, affinity=True), "write cpus=2"),
        (lambda: motet.Resources(custom={"gpus": 1}), "an option of its own"),
        (lambda: motet.Resources(custom={"a b": 1}), "no name of a resource"),
        (
            lambda: motet.Config(resources=motet.Resources(gpus=1), environment=motet.Environment(env={"CUDA_VISIBLE_DEVICES": "0"})),
            "keep one",
        ),
        (lambda: motet.Autoscale(3, 2), "over max"),
        (lambda: motet.CallOptions(retries=-1), "retries"),
        (lambda: Leaf.bind().options(concurency=2), "concurrency=..."),
        (lambda: Leaf.bind().options(timeout=-1), "timeout"),
        (lambda: Leaf.bind().options(name="with space"), "letters"),
        (lambda: Leaf.bind().options(retries=2), "depends"),
    ],
)
def test_wrong_options(make, text):
    """An unknown or wrong option is a fault at the line that wrote it."""
    with pytest.raises(DefinitionError, match=text) as caught:
        make()
    assert caught.value.faults[0].place.startswith(__file__)


def test_all_wrong_options_at_once():
    """Every wrong option is reported."""
    with pytest.raises(DefinitionError) as caught:
        motet.Config(timeout=0, queue=-1, colour="red")
    assert len(caught.value.faults) == 3
    with pytest.raises(DefinitionError) as caught:
        Leaf.bind().options(name="with space", retries=2, queue=-1)
    assert len(caught.value.faults) == 3


def test_one_fault_for_each_wrong_option():
    """An option of several types is one fault, in the words of the first, with a value that is right."""
    with pytest.raises(DefinitionError) as caught:
        motet.Config(replicas=-1)
    (fault,) = caught.value.faults
    assert fault.message == "option `replicas`: Input should be greater than or equal to 1"
    assert fault.instead == "such as replicas=1"


def test_options_override_single_fields():
    """`.options` of a node keeps what it doesn't name, and leaves the node as it was."""
    node = Leaf.bind()
    changed = node.options(queue=1).options(drain=2)
    assert (changed.config.queue, changed.config.drain, changed.config.timeout) == (1, 2, 5)
    assert node.config.queue == 7


def test_endpoint_options_come_before_the_services():
    """An endpoint's own timeout and idempotence count before the Config's, an override by `.options` included."""
    definition = Leaf.bind().definition
    config = Config(timeout=9)
    assert definition.timeout_of(definition.endpoints["f"], config) == 9
    assert definition.timeout_of(definition.endpoints["g"], config) == 3
    assert definition.is_idempotent(definition.endpoints["g"], config) is True
    assert definition.is_idempotent(definition.endpoints["f"], config) is False


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("2KB", 2000), ("1.5 GiB", 3 * 2**29), ("512mib", 2**29)])
def test_memory_amounts(text, number):
    """Amounts of memory have decimal and binary units."""
    assert parse_bytes(text) == number


def test_options_are_frozen_and_plain():
    """Options can't be changed, and survive pickling and JSON."""
    config = motet.Config(replicas=motet.Autoscale(1, 4), resources=motet.Resources(gpus=0.5, memory="1GiB"))
    with pytest.raises(Exception, match="frozen"):
        config.queue = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(config)) == config
    assert motet.Config.model_validate_json(config.model_dump_json()) == config


def test_call_options_over_each_other():
    """The options of a call come before those of the edge."""
    edge = motet.CallOptions(timeout=3, retries=1)
    assert motet.CallOptions(timeout=1).over(edge) == motet.CallOptions(timeout=1, retries=1)
