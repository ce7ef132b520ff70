"""What identifies a job: a hash of everything that determines its result.

That is the system with its full configuration, the data set's content, the protocol, the seed, the
device kind and precision, the versions of the numerical libraries, the code (see
:mod:`benchmark.systems.provenance`), and configuration and code of the systems that it builds on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.files import sha256_of_json
from benchmark.systems.catalogue import choose
from benchmark.systems.provenance import code_fingerprint, library_versions


def job_identity(
    *,
    system: str,
    module: str,
    configuration: dict[str, Any],
    upstream: Mapping[str, dict[str, Any]],
    dataset_fingerprint: str,
    protocol: dict[str, Any],
    candidates: str | None,
    seed: int,
    device: str,
    precision: str,
) -> str:
    """The identity of a job, 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "system": system,
            "configuration": configuration,
            "dataset": dataset_fingerprint,
            "protocol": protocol,
            "candidates": candidates,
            "seed": seed,
            "device": device.partition(":")[0],
            "precision": precision,
            "libraries": library_versions(),
            "code": code_fingerprint(module),
            "upstream": {
                name: [settings, code_fingerprint(choose(name).entry.module)]
                for name, settings in upstream.items()
            },
        }
    )
