"""``python -m benchmark.serve RUN``: a trained run as an HTTP service on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.cli import guarded
from benchmark.errors import BenchmarkError
from benchmark.serve.arguments import model_of, parser_of


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code (2 bad input)."""
    parser = parser_of("serve", "Serve a trained run: /recommend, /search, /health.")
    parser.add_argument("--host", default="127.0.0.1", help="(default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32, help="requests that are ranked together")
    arguments = parser.parse_args(argv)

    def serve() -> int:
        if arguments.batch < 1:
            raise BenchmarkError(f"--batch {arguments.batch}: must be at least 1.")
        if not 0 <= arguments.port < 1 << 16:
            raise BenchmarkError(f"--port {arguments.port}: must be 0 to {(1 << 16) - 1}.")
        try:
            import uvicorn

            from benchmark.serve.service import make_service
        except ModuleNotFoundError as error:
            raise BenchmarkError(
                f"the service needs {error.name}: pip install 'gensar-benchmark[serve]'."
            ) from None
        service = make_service(model_of(arguments), arguments.batch)
        uvicorn.run(service, host=arguments.host, port=arguments.port, log_level="warning")
        return 0

    return guarded(serve)


if __name__ == "__main__":
    raise SystemExit(main())
