# What Motet uses of cloudpickle, which comes without types.
import pickle
from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

def dumps(obj: object, protocol: int | None = ..., buffer_callback: Callable[[pickle.PickleBuffer], object] | None = ...) -> bytes: ...
def loads(data: Buffer, /) -> object: ...

class Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any: ...
