"""The interface of a language model: answer questions about a transcript, and summarize one."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


class Problem(StrEnum):
    """The kinds of a LanguageModelError."""

    PROVIDER = "provider"  # unreachable, rejects the key, fails, or returns an invalid response
    UNKNOWN_MODEL = "unknown model"
    TOO_LONG = "too long"  # does not fit the model's context window, even when shortened
    REQUEST = "request"  # the provider rejects the request as invalid


class LanguageModelError(Exception):
    """A language model gave no answer. The message is shown to the user."""

    def __init__(
        self, message: str, *, problem: Problem = Problem.PROVIDER, can_retry: bool = False
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.can_retry = can_retry
        """Whether the same request may succeed later."""


@dataclass(frozen=True)
class Passage:
    """What one speaker said without a pause. Times are seconds; None if the transcript has none."""

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


@dataclass(frozen=True)
class Transcript:
    passages: tuple[Passage, ...]
    """Ordered by start."""
    language: str = ""
    """ISO 639-1; empty if unknown."""


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the user's question, and the transcript that it is about."""

    messages: tuple[Message, ...]
    transcript: Transcript
    temperature: float = 0.7
    max_tokens: int = 500


@dataclass(frozen=True)
class Usage:
    """Token counts."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True)
class Answer:
    text: str
    model: str
    """The id of the model that answered."""
    usage: Usage | None
    """None if the provider does not report it."""
    citations: tuple[Passage, ...] = ()
    """The passages that support the answer, ordered by start."""
    finish_reason: str = "stop"
    """`stop`, or `length` if max_tokens cut the answer."""


class Style(StrEnum):
    PARAGRAPH = "paragraph"
    BULLET_POINTS = "bullet_points"
    KEY_POINTS = "key_points"


@dataclass(frozen=True)
class ModelCard:
    id: str
    name: str
    description: str
    context_tokens: int | None = field(default=None, compare=False)
    """The context window in tokens; None if the provider does not report it."""


@dataclass(frozen=True)
class Provider:
    """The address, key and limits of an OpenAI-compatible server."""

    api_key: str = field(default="", repr=False)
    base_url: str = ""
    """Empty: OpenAI's own, if there is a key."""
    default_model: str = ""
    """Empty: `gpt-3.5-turbo` if the provider lists it, else the first model that it lists."""
    allowed_models: tuple[str, ...] = ()
    """The models that may be used, besides the default one; empty: all that the provider lists."""
    context_tokens: int = 0
    """The context window; 0: use the one that the provider reports."""
    timeout_seconds: float = 300.0
    """The timeout of one answer, retries included."""

    @property
    def is_configured(self) -> bool:
        return bool(self.api_key or self.base_url)

    def allows(self, model: str) -> bool:
        """Whether a model may be used. Ollama lists "llama3.2" as "llama3.2:latest"."""
        names = (model, model.removesuffix(":latest"))
        return not self.allowed_models or any(
            name in self.allowed_models or name == self.default_model for name in names
        )


class LanguageModel(Protocol):
    """Every async method raises LanguageModelError if it gets no answer."""

    @property
    def name(self) -> str:
        """The model id that the API reports as `model_used`."""
        ...

    async def answer(self, question: Question) -> Answer: ...

    def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        """Yield the answer's text in deltas, then the whole Answer."""
        ...

    async def parts(self, transcript: Transcript) -> Sequence[Transcript]:
        """Split the transcript into parts that fit the context window; one part if it fits whole."""
        ...

    async def condense(self, part: Transcript) -> Sequence[Passage]:
        """Condense one part to notes, several times shorter; the notes of all parts are summarized together."""
        ...

    async def summarize(self, transcript: Transcript, *, style: Style, max_words: int) -> str:
        """Summarize a transcript of one part in at most `max_words` words (see text.count_words)."""
        ...

    async def topics(self, transcript: Transcript, *, summary: str) -> Sequence[str]:
        """Name 3 to 8 topics as short phrases."""
        ...
