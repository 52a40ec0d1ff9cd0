"""Where the models are."""

import os
from pathlib import Path


def model(name: str) -> str:
    """Return the folder of a model in the one that the variable `CHAT_MODELS` names, or the model's name on the hub.

    Raises:
        FileNotFoundError: the folder isn't there.
    """
    folder = os.environ.get("CHAT_MODELS")
    if not folder:
        return name
    path = Path(folder).resolve() / name.rsplit("/", maxsplit=1)[-1]
    if not path.is_dir():
        message = f"CHAT_MODELS is {folder!r}, and there is no folder {path}; make_tiny_models.py makes one"
        raise FileNotFoundError(message)
    return str(path)
