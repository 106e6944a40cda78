"""Compile proto/: Python modules, and the descriptor set that everything else reads."""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# Envoy turns an error into JSON only if it knows the types inside it, so they travel along
# although no file of ours imports them.
ERROR_TYPES = ("google/rpc/error_details.proto", "google/rpc/status.proto")


class CompileError(Exception):
    """protoc refused the sources; the message is what it said."""


def sources(proto: Path) -> list[str]:
    """The files of the contract, relative to `proto` and sorted, so that output never depends on the machine."""
    return sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))


def write_python(proto: Path, out: Path) -> None:
    """Write the message modules, their type stubs and the gRPC modules below `out`."""
    _protoc(proto, f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", *sources(proto))


def descriptor_set(proto: Path) -> bytes:
    """The contract with all it imports and every comment, as a serialized FileDescriptorSet."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        options = (f"--descriptor_set_out={image}", "--include_imports", "--include_source_info")
        _protoc(proto, *options, *sources(proto), *ERROR_TYPES)
        return image.read_bytes()


def _protoc(proto: Path, *arguments: str) -> None:
    # googleapis-common-protos installs google/api and google/rpc, grpcio-tools brings google/protobuf.
    googleapis = sysconfig.get_path("purelib")
    well_known = Path(sysconfig.get_path("platlib"), "grpc_tools", "_proto")
    includes = [f"--proto_path={folder}" for folder in (proto, googleapis, well_known)]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CompileError(result.stderr.strip())
