"""What an evaluation measures: a local model, loaded only if an answer is missing, or a served one."""

from __future__ import annotations

import gc
import hashlib
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from prosafeprune.checkpoint.conversion import convert_source
from prosafeprune.files.staging import require_outside
from prosafeprune.files.user_path import user_path
from prosafeprune.generation import Generator
from prosafeprune.generation.endpoint import EndpointGenerator
from prosafeprune.generation.local import local_generator
from prosafeprune.model.adapters import Subject, attach_adapter, find_subject
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.model_hash import file_hash
from prosafeprune.model.replicas import load_with_replicas
from prosafeprune.progress import Reporter
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.measuring import ModelOptions

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class EvaluationTarget(Protocol):
    """A local or a served model."""

    def made_by(self) -> dict[str, Any]:
        """Return what the answers depend on besides prompts and decoding."""
        ...

    def generator(self) -> Generator:
        """Return its generator; a local model is loaded now."""
        ...


class LocalModel:
    """A local checkpoint, GGUF file or adapter; its memory is freed when the context ends."""

    def __init__(
        self,
        model: str,
        request: ModelOptions,
        reporter: Reporter,
        *,
        with_replicas: bool = True,
        merged: bool = False,
    ) -> None:
        """Find the model.

        Args:
            with_replicas: whether the other processes of the group, if any, load it too.
            merged: whether an adapter is added to the weights: for what looks into a model's matrices, or edits them.

        Raises:
            InputError: as for ``find_subject``.
        """
        self.request, self.reporter = request, reporter
        self.with_replicas, self.merged = with_replicas, merged
        self.subject: Subject = find_subject(
            model,
            request.revision if model == request.model else None,
            trust_remote_code=request.trust_remote_code,
            reporter=reporter,
        )
        self._loaded: LoadedModel | None = None
        self._resources = ExitStack()

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        """Free the model's memory."""
        was_loaded, self._loaded = self._loaded is not None, None
        self._resources.close()
        if was_loaded:
            gc.collect()  # before the next model is loaded: two at once may not fit
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @property
    def folder(self) -> Path | None:
        """The checkpoint's folder; None for a model that must be converted first."""
        return None if self.subject.source.is_converted else self.subject.source.path

    def require_outside(self, output: Path) -> None:
        """Raise InputError when ``output`` is, contains or is inside a folder of the model."""
        for folder in (self.subject.source.path, self.subject.adapter):
            if folder is not None:
                require_outside(user_path(output).resolve(), folder.resolve(), "model's")

    def made_by(self) -> dict[str, Any]:
        """Return the hashes of weights, tokenizer and other files, device, dtype and system prompt."""
        files = [self.folder / name for name in TOKENIZER_FILES] if self.folder else []
        tokenizer = hashlib.sha256("".join(file_hash(file) for file in files if file.is_file()).encode()).hexdigest()
        return {
            "model": self.subject.sha256,
            "tokenizer": tokenizer,
            "companions": companions_hash(*(path for path in (self.subject.source.path, self.subject.adapter) if path)),
            "device": self.request.device,
            "dtype": self.request.runs_in,
            # None, not absent, where it is off: folders are compared by the names that the present run gives.
            "system": self.request.system,
            "thinking": self.request.recorded_thinking,
        }

    @property
    def loaded(self) -> LoadedModel:
        """The model, loaded at the first call. Raises InputError when that fails."""
        if self._loaded is None:
            folder = self.folder
            if folder is None:
                folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="prosafeprune-")))
                convert_source(self.subject.source, folder, self.reporter)
            load = partial(_load, folder, self.subject, self.request, self.merged)
            self._loaded = (
                load_with_replicas(load, self.reporter) if self.with_replicas else load(reporter=self.reporter)
            )
        return self._loaded

    def generator(self) -> Generator:
        """Return a generator over the model in memory."""
        return local_generator(self.loaded, self.request.batch_size)


def _load(folder: Path, subject: Subject, request: ModelOptions, merged: bool, *, reporter: Reporter) -> LoadedModel:
    loaded = load_model(folder, subject.source.name, reporter, **request.load_arguments)
    if subject.adapter is not None:
        attach_adapter(loaded, subject.adapter, subject.name, merged=merged)
    return loaded


class ModelBehindServers:
    """A model behind one or more servers."""

    def __init__(self, request: EvaluateRequest, endpoint: str, reporter: Reporter) -> None:
        self.endpoint = EndpointGenerator(
            endpoint,
            request.model or None,
            concurrency=request.concurrency,
            extra=request.request_fields(),
            system=request.system,
            reporter=reporter,
        )
        self.endpoint.check()

    def made_by(self) -> dict[str, Any]:
        """Return servers, model name and system prompt; the hash of the weights is unknown."""
        return {**self.endpoint.describe(), "system": self.endpoint.system}

    def generator(self) -> Generator:
        """Return the generator over the servers."""
        return self.endpoint
