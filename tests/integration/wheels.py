"""Wheels made on the spot, and a machine whose only package index is a folder of them."""

import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, *, requires=(), source: str | None = None) -> Path:
    """Write a wheel with one module, which says its version."""
    module, base = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {each}" for each in requires), ""]
    path = folder / f"{base}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module}.py", source if source is not None else f"version = {version!r}\n")
        wheel.writestr(f"{base}.dist-info/METADATA", "\n".join(metadata))
        wheel.writestr(f"{base}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{base}.dist-info/RECORD", f"{module}.py,,\n{base}.dist-info/METADATA,,\n{base}.dist-info/WHEEL,,\n{base}.dist-info/RECORD,,\n"
        )
    return path
