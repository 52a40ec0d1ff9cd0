"""LitServe: replicas are its workers for a device, with as many HTTP processes, as it does by itself.

Its option `fast_queue` made it slower on two cores, so it is off, as it is by itself.
Annotations are no strings here, because LitServe reads them as they are.
"""

from collections.abc import Iterator

import litserve
from task import BATCH, WAIT, Count, Item, Number, infer, lines, order


class Echo(litserve.LitAPI):
    """Answers what it is asked."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: Item) -> Item:
        """Read the body."""
        return request

    def predict(self, x: Item) -> Item:
        """Return the item."""
        return x

    def encode_response(self, output: Item) -> Item:
        """Write the answer."""
        return output


class Model(litserve.LitAPI):
    """Takes as long as a model does."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: Number) -> int:
        """Read the body."""
        return request.value

    def batch(self, inputs: list[int]) -> list[int]:
        """Return the items as they are."""
        return inputs

    def predict(self, x: list[int]) -> list[int]:
        """Return the items."""
        return infer(x)

    def unbatch(self, output: list[int]) -> list[int]:
        """Return the items as they are."""
        return output

    def encode_response(self, output: int) -> Number:
        """Write the answer."""
        return Number(value=output)


class Counter(litserve.LitAPI):
    """Streams lines."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: Count) -> int:
        """Read the body."""
        return request.items

    def predict(self, x: int) -> Iterator[bytes]:
        """Count."""
        yield from lines(x)

    def encode_response(self, output: Iterator[bytes]):  # noqa: ANN201  # FastAPI would validate by the annotation
        """Write the pieces."""
        yield from output


if __name__ == "__main__":
    task, port, replicas = order()
    api = {
        "echo": lambda: Echo(api_path="/echo"),
        "batch": lambda: Model(api_path="/infer", max_batch_size=BATCH, batch_timeout=WAIT),
        "stream": lambda: Counter(api_path="/count", stream=True),
    }[task]()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=replicas)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
