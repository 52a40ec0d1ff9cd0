"""What a replica makes of its placement, before the service is constructed: cores, cards, and threads of numeric libraries.

Where it was forked the libraries are loaded, and run one thread, since their parent does. Where they are loaded later, or in a fresh
process, they look at the environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from motet.engines.hardware import CARDS_VARIABLE
from motet.engines.interface import Placement
from motet.options import Config

if TYPE_CHECKING:
    from threadpoolctl import LibController

# By what threadpoolctl calls the libraries that look at them.
_VARIABLES = {"openmp": "OMP_NUM_THREADS", "openblas": "OPENBLAS_NUM_THREADS", "mkl": "MKL_NUM_THREADS"}
THREAD_VARIABLES = tuple(_VARIABLES.values())


def variables_of(placement: Placement, config: Config) -> dict[str, str]:
    """Return the environment variables that follow from a placement; of what the service declares in its `Environment` that counts."""
    variables: dict[str, str] = dict.fromkeys(THREAD_VARIABLES, str(config.resources.threads))
    if placement.gpus is not None:
        variables[CARDS_VARIABLE] = ",".join(placement.real_cards)
    return {name: config.environment.env.get(name, value) for name, value in variables.items()}


def take_what_was_given(placement: Placement, config: Config) -> Threads:
    """Set this process to what it was given; returns what threads that it starts have to do."""
    variables = variables_of(placement, config)
    os.environ.update(variables)
    if placement.cores:
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), placement.cores)
    return Threads({library: _number(variables[name], config.resources.threads) for library, name in _VARIABLES.items()})


def _number(said: str, otherwise: int) -> int:
    """Return the number of threads that a variable says; OpenMP takes a list, too, of which the first counts here."""
    first = said.partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else otherwise


class Threads:
    """Sets numeric libraries that are loaded already to a number of threads, each by its name.

    OpenMP keeps the number for each thread that calls it, and new ones begin with what the environment said when the library was
    loaded: so each has to set its own.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._libraries: list[LibController] = []
        if max(counts.values()) > 1:  # else that is what they have
            from threadpoolctl import ThreadpoolController  # noqa: PLC0415  # most replicas don't need it

            found = ThreadpoolController()
            for name, count in counts.items():
                for library in found.select(internal_api=name).lib_controllers:
                    library.set_num_threads(count)
            self._libraries = found.select(internal_api="openmp").lib_controllers
        if (torch := sys.modules.get("torch")) is not None:
            # One thread, too: after a fork torch makes its pool anew, and two threads that do so at the same time fail.
            torch.set_num_threads(counts["openmp"])
        self._count = counts["openmp"]

    def prepare(self) -> None:
        """Set the calling thread."""
        for library in self._libraries:
            library.set_num_threads(self._count)

    def prepare_executor(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the threads of `asyncio.to_thread` do so, too."""
        if self._libraries:
            loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio", initializer=self.prepare))
