"""A trained run as an HTTP service: /recommend, /search, /health, and OpenAPI at /openapi.json.

Requests that arrive while others are ranked wait, and are then ranked together: one thread ranks,
so a system needs no lock, and a batch costs little more than one request. Bad input gets one
sentence and a status of 4xx before anything is ranked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from benchmark import __version__
from benchmark.errors import BenchmarkError, SystemFailure, quoted
from benchmark.serve.model import Ask, Hit, Model

LARGEST_BODY = 1 << 18
"""Bytes of a request's body."""
LONGEST_HISTORY = 1000
LONGEST_QUERY = 500
"""Characters."""
LARGEST_K = 1000

Identifier = Annotated[str, Field(min_length=1, max_length=200)]
QueryText = Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Found(_Body):
    """A click on a result of a search, as an event of a history."""

    query: QueryText
    item: Identifier


class Recommend(_Body):
    """Whom to recommend to: a history, a user of the data set, or both."""

    history: Annotated[list[Identifier | Found], Field(max_length=LONGEST_HISTORY)] | None = None
    """Oldest first; the data set's own history of ``user`` if absent."""
    user: Identifier | None = None
    k: Annotated[int, Field(ge=1, le=LARGEST_K)] = 10
    seen: Literal["left out", "kept"] = "left out"
    """Whether items of the history may come again."""

    def asked(self) -> Ask:
        """As the model takes it."""
        return Ask(self._events(), self.user, None, self.seen)

    def _events(self) -> list[str | tuple[str, str]] | None:
        if self.history is None:
            return None
        return [
            event if isinstance(event, str) else (event.query, event.item) for event in self.history
        ]


class Search(Recommend):
    """Who searches for what; somebody without a past if there is neither history nor user."""

    query: QueryText
    seen: Literal["left out", "kept"] = "kept"

    def asked(self) -> Ask:
        """As the model takes it."""
        events = self._events()
        past = [] if events is None and self.user is None else events
        return Ask(past, self.user, self.query, self.seen)


class Item(BaseModel):
    """One item of an answer."""

    item: str
    title: str
    score: float


class Answer(BaseModel):
    """The best items, best first."""

    items: list[Item]


class Health(BaseModel):
    """What answers here."""

    status: Literal["ok"] = "ok"
    system: str
    dataset: str
    tasks: list[str]
    items: int
    version: str


@dataclass(frozen=True)
class _Waiting:
    task: str
    asked: Ask
    k: int
    answer: asyncio.Future[list[Hit]]


class Batches:
    """Ranks what waits together, at most ``size`` requests of one task at once, in one thread."""

    def __init__(self, model: Model, size: int) -> None:
        self.model, self.size = model, size
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranking")

    async def answer(self, task: str, asked: Ask, k: int) -> list[Hit]:
        """The hits of one question, ranked with others that wait.

        Raises:
            BenchmarkError: the question names what the data set lacks, or the system cannot read
                it.
        """
        self.model.check(task, asked)
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        await self._waiting.put(_Waiting(task, asked, k, future))
        return await future

    async def run(self) -> None:
        """Rank batch after batch, for as long as the service lives."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self.size and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            for task in dict.fromkeys(one.task for one in batch):
                of_task = [one for one in batch if one.task == task]
                asked, k = [one.asked for one in of_task], max(one.k for one in of_task)
                try:
                    found = await loop.run_in_executor(
                        self._thread, self.model.answer, task, asked, k
                    )
                except Exception as error:  # whatever a system raises, the service goes on
                    _refuse(of_task, error)
                    continue
                for one, hits in zip(of_task, found, strict=True):
                    if not one.answer.done():  # who asked may have gone
                        one.answer.set_result(hits[: one.k])


def _refuse(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.answer.done():
            one.answer.set_exception(error)


def make_service(model: Model, batch_size: int = 32) -> FastAPI:
    """The application; ``uvicorn.run`` or another ASGI server serves it.

    Args:
        model: what answers.
        batch_size: at most so many requests are ranked together.
    """
    batches: list[Batches] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batches.append(Batches(model, batch_size))
        running = asyncio.create_task(batches[-1].run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    app = FastAPI(
        title=f"{model.name} on {model.dataset.name}",
        version=__version__,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    _answer_mistakes(app)

    @app.get("/health")
    async def health() -> Health:
        """Whether the service is up, and what it serves."""
        return Health(
            system=model.name,
            dataset=model.dataset.name,
            tasks=list(model.tasks),
            items=model.dataset.number_of_items,
            version=__version__,
        )

    @app.post("/recommend")
    async def recommend(body: Recommend) -> Answer:
        """The best items for a history, or for a user of the data set."""
        return _answer(await batches[-1].answer("recommendation", body.asked(), body.k))

    @app.post("/search")
    async def search(body: Search) -> Answer:
        """The best items for a query text."""
        return _answer(await batches[-1].answer("search", body.asked(), body.k))

    return app


def _answer(hits: Sequence[Hit]) -> Answer:
    return Answer(items=[Item(**asdict(hit)) for hit in hits])


def _answer_mistakes(app: FastAPI) -> None:
    """One sentence for each mistake, and a status of HTTP.

    400 and 422 are bad input, 404 and 405 what is not served, 411 and 413 a body without a length
    and one that is too long, 500 a system that fails.
    """

    @app.middleware("http")
    async def refuse_large_bodies(request: Request, call_next: Any) -> Response:
        given = request.headers.get("content-length", "")
        if request.method == "POST" and not given.isdecimal():
            return _error(411, "A request must say its length (the header Content-Length).")
        if given.isdecimal() and int(given) > LARGEST_BODY:
            return _error(413, f"A request has at most {LARGEST_BODY:,} bytes, not {given}.")
        answer: Response = await call_next(request)
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _error(422, _sentence(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        path = quoted(request.url.path)
        sentences = {
            400: "the body: is not JSON in UTF-8.",
            404: f"{path} is not served; /recommend, /search, /health and /openapi.json are.",
            405: f"{path} takes no {request.method}.",
        }
        sentence = sentences.get(error.status_code, str(error.detail))
        return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)

    @app.exception_handler(BenchmarkError)
    async def bad_input(request: Request, error: BenchmarkError) -> JSONResponse:
        return _error(422, str(error))

    @app.exception_handler(SystemFailure)
    async def failed(request: Request, error: SystemFailure) -> JSONResponse:
        return _error(500, f"The system fails: {quoted(str(error))}")


def _sentence(errors: Sequence[Any]) -> str:
    """What is wrong with a body, of the errors that pydantic lists."""
    first = errors[0]
    key = ".".join(str(part) for part in first["loc"][1:3])
    if first["type"] == "json_invalid":
        return f"the body: is not JSON ({first['ctx']['error']}, at character {key})."
    if len(first["loc"]) == 1:
        return "the body: must be a JSON object, with the header content-type: application/json."
    if first["loc"][1] == "history" and first["type"] == "string_type":
        return f'{key}: must be an item\'s id as a text, or {{"query": a text, "item": its id}}.'
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return f"{key}: {reason}."


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)
