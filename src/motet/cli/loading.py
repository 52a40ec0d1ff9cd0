"""Loading a target for a command that looks at it."""

from __future__ import annotations

from motet import check as checking
from motet.graph import Graph, compile_graph
from motet.targets import find_node


def load_graph(target: str, *, name: str, route: str) -> Graph:
    """Load a target in this process and compile it; the faults of its classes and of the graph come together.

    Raises:
        TargetError: the target doesn't exist or can't be imported.
        DefinitionError: it is defined wrongly.
    """
    with checking.collecting():
        return compile_graph(find_node(target), name=name, route=route)
