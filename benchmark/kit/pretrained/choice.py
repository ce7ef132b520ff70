"""Which pretrained model a system starts from, whatever its kind: by name, folder, or none."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict

from benchmark.kit.pretrained.finding import AUTO, PUBLISHED, if_available, loadable, named_model
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.systems.contract import PretrainedPart

SCRATCH = "scratch"


class BackboneChoice(BaseModel):
    """A published model, another one, or one of random weights; subclasses say of which kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = PUBLISHED
    """"published" for ``hub_name`` and nothing else, "scratch", "auto" for ``hub_name`` where the
    hub's cache or the hub has it and scratch elsewhere, a folder, or a hub name ("owner/model")."""
    hub_name: str
    """What the published system starts from."""
    scratch: Any
    """Its sizes where it starts from random weights."""

    @staticmethod
    @abstractmethod
    def load(files: PretrainedFiles) -> None:
        """Try to load model and tokenizer of a folder.

        Raises:
            BenchmarkError: they cannot be used; one sentence says why.
        """

    @abstractmethod
    def of_scratch(self) -> str:
        """What a model from random weights is called in a sentence, "A T5 …"."""

    def find(self) -> PretrainedFiles | None:
        """The files of the pretrained model, or None for one from scratch.

        Raises:
            BenchmarkError: the model that was asked for is not there or cannot be read.
        """
        if self.model == SCRATCH:
            return None
        if self.model == AUTO:
            return if_available(self.hub_name)
        name = self.hub_name if self.model == PUBLISHED else self.model
        return named_model("backbone", name, SCRATCH)

    def part(self) -> PretrainedPart:
        """What :meth:`find` finds, if it can be loaded, as a part of a configuration."""

        def found() -> PretrainedFiles | None:
            files = self.find()
            return None if files is None else loadable(files, self.load)

        return PretrainedPart(
            self.hub_name if self.model in (PUBLISHED, AUTO) else self.model, found
        )

    def identity(self) -> dict[str, Any]:
        """What names the starting point in an artifact: the pretrained files' hash, or sizes."""
        files = self.find()
        if files is None:
            return {"scratch": self.scratch.model_dump(mode="json")}
        return {"sha256": files.sha256}

    def stand_in(self) -> str:
        """The sentence on what stands in for the published backbone; empty if nothing does."""
        files = self.find()
        if files is None:
            return (
                f"{self.of_scratch()} with a tokenizer of the data set's own texts stands in for "
                f"the pretrained {self.hub_name}."
            )
        if files.name.rpartition("/")[2] == self.hub_name.rpartition("/")[2]:
            return ""
        return (
            f"The backbone {files.name} (as given, SHA-256 {files.sha256[:12]}…) stands in for "
            f"{self.hub_name}."
        )
