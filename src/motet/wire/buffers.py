"""Contents of arrays and long byte strings as buffers of payloads: put into shared memory, or left there if that is where they are."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import TYPE_CHECKING, Any

from motet.errors import UsageError
from motet.wire.memory import SHARED, Pool, pool
from motet.wire.payload import Buffer, Part
from motet.wire.segments import Lease, SharedBuffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

_made: dict[int, weakref.ref[Any]] = {}  # the arrays that `empty` has returned, by id


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array to build a large argument or result in: passing on the array itself copies nothing.

    Its contents are undefined. Once it is an argument or part of a result it is read-only, since its receivers look at the very
    same memory: write to it before, and through no other view of it afterwards. Passing on part of it copies that part.

    Args:
        shape: lengths of the dimensions.
        dtype: of the elements, as NumPy takes it; no Python objects.

    Raises:
        UsageError: arrays of that dtype hold Python objects.
    """
    import numpy as np

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise UsageError("an array of Python objects can't be in shared memory", found=f"dtype {kind}", instead="a dtype of numbers")
    size = kind.itemsize * math.prod(shape if isinstance(shape, tuple) else (shape,))
    lease = _take(pool(), size)
    array: np.ndarray[Any, np.dtype[Any]] = np.empty(shape, kind) if lease is None else np.ndarray(shape, kind, buffer=lease.memory())
    key = id(array)
    _made[key] = weakref.ref(array, lambda _: _made.pop(key, None))
    return array


def _take(pool: Pool | None, size: int) -> Lease | None:
    return pool.take(size) if pool is not None and size >= SHARED else None


def of_bytes(data: Buffer, pool: Pool | None) -> Part:
    """Return a copy of `data`: values cross as they are now."""
    lease = _take(pool, len(data))
    if lease is None:
        return data if type(data) is bytes else bytes(data)
    buffer = SharedBuffer(lease, 0, len(data))
    buffer.memory()[:] = data
    return buffer


def of_array(array: Any, pool: Pool | None) -> Part:
    """Return the contents of an array in C order, copied unless nobody can change them where they are."""
    import numpy as np

    made = (reference := _made.get(id(array))) is not None and reference() is array
    if made:
        array.flags.writeable = False
    if pool is not None and array.nbytes >= SHARED:
        if (shared := _shared_part(array, made=made)) is not None:
            return shared
        if (lease := pool.take(array.nbytes)) is not None:
            np.copyto(np.ndarray(array.shape, array.dtype, buffer=lease.memory()), array)
            return SharedBuffer(lease, 0, array.nbytes)
    if made:
        return memoryview(array.reshape(-1).view("u1")).toreadonly() if array.nbytes else b""
    copied: bytes = array.tobytes()
    return copied


def _shared_part(array: Any, *, made: bool) -> SharedBuffer | None:
    """Return where an array that has been received, or made by `empty`, is in shared memory; None for any other."""
    import numpy as np

    if array.flags.writeable or not array.flags.c_contiguous:
        return None
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    owner: Any = base.obj if isinstance(base, memoryview) else base
    lease = getattr(owner, "lease", None) if issubclass(type(owner), ctypes.Array) else None
    if not isinstance(lease, Lease) or not (lease.sealed or made) or 2 * array.nbytes < lease.segment.block_size:
        return None  # a small part would keep all of the block
    start = 0 if made else array.ctypes.data - ctypes.addressof(owner)
    return SharedBuffer(lease, start, array.nbytes)
