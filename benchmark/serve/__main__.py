"""``python -m benchmark.serve RUN``: a trained run as an HTTP service on this machine."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

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
        with _listening(arguments.host, arguments.port) as listener:
            model = model_of(arguments)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{port}"
            print(f"{model.name} on {model.dataset.name}: {address} (Ctrl-C ends it)", flush=True)
            configuration = uvicorn.Config(
                make_service(model, arguments.batch), log_level="warning"
            )
            with suppress(KeyboardInterrupt):  # is how a service ends; answers under way are sent
                uvicorn.Server(configuration).run(sockets=[listener])
        return 0

    return guarded(serve)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that has the port before the model is loaded; port 0 takes any that is free.

    Raises:
        BenchmarkError: the machine has no such address, or its port is taken or forbidden.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        reason = said.partition(" (while attempting")[0]  # the address is named already
        raise BenchmarkError(f"--host {host} --port {port}: cannot be served ({reason}).") from None


if __name__ == "__main__":
    raise SystemExit(main())
