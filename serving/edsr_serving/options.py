"""What a user can choose about the server, and the tritonserver command line that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .clients import FORWARDED_HEADERS
from .variants import AUTO, ENGINE_PRECISIONS, RTX, Variant, cpu_precision, spelled

LOOPBACK = "127.0.0.1"
GPU_PRECISIONS = (AUTO, *ENGINE_PRECISIONS)
# Ours ends sooner, and can be told otherwise; Triton's also runs while nothing but idle connections is left.
TRITONS_EXIT_TIMEOUT_S = 86_400


@dataclass(frozen=True)
class ServerOptions:
    """Where the server finds its models, keeps its files, and listens.

    Attributes:
        repository: Triton model repository.
        run_dir: folder for the pid file, the log, and what is prepared for one run of the server.
        models: names to serve; empty for every model that is built.
        address: address to listen on.
        http_port, grpc_port, metrics_port: TCP ports.
        gpu: card whose engines to serve, "a10g"; "" serves on the CPU.
        device: which of the machine's GPUs, as `gpu.selection.choose` takes it; "" for all that are that card.
        precision: of the inference, "auto", "int8", "bf16" or "f32" on the CPU; on a GPU that of the engine, "auto" for
            fp16, and fp16, fp32 and int8. "f32" and "fp32" mean the same everywhere.
        ready_timeout_s: how long the models may take to load.
        exit_timeout_s: how long requests in work may take when the server is stopped; those that take longer are lost.
    """

    repository: Path = Path("model_repository")
    run_dir: Path = Path(".run")
    models: tuple[str, ...] = ()
    address: str = LOOPBACK
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    gpu: str = ""
    device: str = ""
    precision: str = "auto"
    ready_timeout_s: float = 120.0
    exit_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        name = spelled if self.gpu else cpu_precision
        object.__setattr__(self, "precision", name(self.precision))

    @property
    def variant(self) -> str:
        """Name of the GPU configuration and engine, "a10g-rtx" or "a10g-fp32-rtx"; "" on the CPU."""
        if not self.gpu:
            return ""
        return Variant(self.gpu, self.precision, RTX).name

    @property
    def ports(self) -> dict[str, int]:
        """Port by the name of its service."""
        return {"HTTP": self.http_port, "gRPC": self.grpc_port, "metrics": self.metrics_port}

    @property
    def host(self) -> str:
        """Where a client on this machine reaches the server."""
        return LOOPBACK if self.address in ("0.0.0.0", "") else self.address  # noqa: S104

    @property
    def http_url(self) -> str:
        """host:port of the HTTP endpoint."""
        return f"{self.host}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def is_public(self) -> bool:
        """Whether machines other than this one can reach the server."""
        return not (self.address.startswith("127.") or self.address == "localhost")

    def with_ports(self, http: int, grpc: int, metrics: int) -> ServerOptions:
        """These options on other ports."""
        return replace(self, http_port=http, grpc_port=grpc, metrics_port=metrics)


def command(
    binary: Path,
    options: ServerOptions,
    repository: Path,
    backends: Path,
    shm_prefix: str,
    turns: Mapping[str, int] | None = None,
    restrictions: Sequence[str] = (),
) -> list[str]:
    """The tritonserver command line.

    `turns`: resources that instances take while they compute, and how many there are of each.

    Models are loaded once, at the start (`none`): a server that takes load requests lets its callers run code.
    `shm_prefix` keeps two servers on one machine from sharing the names of the Python backend's shared memory.
    `restrictions` are those of keys.py.
    """
    return [
        str(binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=none",
        "--allow-gpu-metrics=false",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--exit-timeout-secs={TRITONS_EXIT_TIMEOUT_S}",
        f"--http-header-forward-pattern={FORWARDED_HEADERS}",
        *(["--rate-limit=execution_count"] if turns else []),
        *(f"--rate-limit-resource={name}:{count}" for name, count in (turns or {}).items()),
        f"--http-address={options.address}",
        f"--http-port={options.http_port}",
        f"--grpc-address={options.address}",
        f"--grpc-port={options.grpc_port}",
        f"--metrics-address={options.address}",
        f"--metrics-port={options.metrics_port}",
        # Both may be switched on by the environment, and know no restrictions.
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        *restrictions,
    ]
