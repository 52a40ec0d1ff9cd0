"""Binding classes into graphs, with options of nodes, of handles and of edges."""

from __future__ import annotations

from typing import assert_type

import motet
from services import Batches, Counts, Detector, Detects, Index, Kinds, More, Search, WithDefaults, WithoutConstructor

detector = Detector.bind(["en", "fr"])
assert_type(detector, Detector)
assert_type(Detector.bind(languages=["en"], threshold=0.7), Detector)
assert_type(Batches.bind(), Batches)
assert_type(WithoutConstructor.bind(), WithoutConstructor)

# `context` is injected: bind doesn't ask for it.
assert_type(Index.bind("faq.jsonl"), Index)
assert_type(Index.bind(path="faq.jsonl"), Index)

# A subclass stands for its base, and any service for a protocol that it fulfils.
assert_type(Search.bind(detector, Batches.bind(), Index.bind("faq.jsonl")), Search)
assert_type(Search.bind(detector=WithDefaults.bind(), embedder=Batches.bind(), index=Index.bind("faq.jsonl"), counter=More.bind()), Search)
assert_type(
    Search.bind(detector, Batches.bind(), Index.bind("faq.jsonl"), kinds=[Kinds.bind(), More.bind()], named={"more": More.bind()}), Search
)
detects: Detects = detector
counts: Counts = More.bind()

# Options of a node.
assert_type(detector.options(timeout=3), Detector)
assert_type(
    Kinds.bind().options(
        name="kinds",
        resources=motet.Resources(cpus=2, gpus=0.5, memory="2GiB", custom={"camera": 1}),
        replicas=motet.Autoscale(1, 4, target=10),
        concurrency=8,
        queue=100,
        environment=motet.Environment(pip=["numpy"], requirements="requirements.txt", env={"MODE": "fast"}),
        image=motet.Image(base="debian", apt=("ffmpeg",)),
        assets=motet.Assets(models=["tiny"], secrets=["token"]),
        timeout=None,
        idempotent=True,
        drain=5,
    ),
    Kinds,
)
assert_type(Kinds.bind().options(replicas=2, concurrency=None), Kinds)

# Options of an edge, as a default of the constructor (services.py) and here.
assert_type(motet.depends(detector), Detector)
assert_type(motet.depends(detector, timeout=2, retries=1), Detector)
assert_type(Search.bind(motet.depends(detector, timeout=2), motet.depends(Batches.bind()), Index.bind("faq.jsonl")), Search)
assert_type(WithDefaults.bind(), WithDefaults)
assert_type(WithDefaults.bind(detector=detector, counter=motet.depends(More.bind(), retries=2)), WithDefaults)


# Options of a handle.
def handles(kinds: Kinds, batches: Batches) -> None:
    assert_type(kinds.options(timeout=1), Kinds)
    assert_type(kinds.options(timeout=1, retries=2).plain(1), motet.Call[int])
    assert_type(batches.options(timeout=1).some_fail("x"), motet.Call[int])


# Another node in the place of one, for tests.
class FakeDetector(motet.Service):
    @motet.endpoint
    def language(self, text: str) -> str:
        return "en"


app = Search.bind(detector, Batches.bind(), Index.bind("faq.jsonl"))
assert_type(motet.replace(app, Detector, Detector.bind([])), Search)
assert_type(motet.replace(app, Batches, Batches.bind()), Search)
assert_type(motet.replace(app, Detector, FakeDetector.bind()), Search)
