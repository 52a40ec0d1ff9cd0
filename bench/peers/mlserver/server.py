"""MLServer: the echo by a custom handler with the same model, batching by its own protocol, which alone is batched.

Replicas are its parallel workers; the model runs in the server's process where there is one, which is the faster of the two.
Annotations are no strings here, because FastAPI wouldn't find what they name in the server's process.
uvloop is held at 0.21: with a newer one its workers don't start.
"""

import asyncio
import socket

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from task import BATCH, WAIT, Item, infer, order


class Echo(MLModel):
    """Answers what it is asked."""

    async def load(self) -> bool:
        """Load nothing."""
        return True

    @custom_handler(rest_path="/echo")
    async def echo(self, item: Item) -> Item:
        """Return the item."""
        return item


class Model(MLModel):
    """Takes as long as a model does."""

    async def load(self) -> bool:
        """Load nothing."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the items."""
        values = np.asarray(list(payload.inputs[0].data)).reshape(-1).tolist()
        answers = await asyncio.to_thread(infer, values)
        output = ResponseOutput(name="value", shape=[len(answers), 1], datatype="INT64", data=answers)
        return InferenceResponse(model_name=self.name, outputs=[output])


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def main() -> None:
    """Serve until SIGTERM."""
    task, port, replicas = order()
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=port,
        grpc_port=free_port(),
        metrics_endpoint=None,
        parallel_workers=0 if replicas == 1 else replicas,
        load_models_at_startup=False,
        logging_settings={"version": 1, "disable_existing_loggers": True},
    )
    model = (
        ModelSettings(name="echo", implementation=Echo)
        if task == "echo"
        else ModelSettings(name="infer", implementation=Model, max_batch_size=BATCH, max_batch_time=WAIT)
    )
    await MLServer(settings).start(models_settings=[model])


if __name__ == "__main__":
    asyncio.run(main())
