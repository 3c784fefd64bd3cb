"""What every language model here can do: answer questions about a transcript, and summarize one."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


class Problem(StrEnum):
    """What kind of failure a LanguageModelError is."""

    PROVIDER = "provider"  # it cannot be reached, refuses the key, fails, answers nonsense
    UNKNOWN_MODEL = "unknown model"
    TOO_LONG = "too long"  # does not fit the model's context, and cannot be made to
    REQUEST = "request"  # the provider says that what was asked for is wrong


class LanguageModelError(Exception):
    """A language model gave no answer. The message is a sentence for whoever asked."""

    def __init__(
        self, message: str, *, problem: Problem = Problem.PROVIDER, can_retry: bool = False
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.can_retry = can_retry
        """Whether the same may succeed a little later."""


@dataclass(frozen=True)
class Passage:
    """What one person said without a break. Times are seconds; None where the transcript has none."""

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


@dataclass(frozen=True)
class Transcript:
    passages: tuple[Passage, ...]
    """In order of time."""
    language: str = ""
    """ISO 639-1; empty: not known."""


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Question:
    """The talk so far, which ends with what the user asks now, and what it is about."""

    messages: tuple[Message, ...]
    transcript: Transcript
    temperature: float = 0.7
    max_tokens: int = 500


@dataclass(frozen=True)
class Usage:
    """Tokens."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True)
class Answer:
    text: str
    model: str
    """What answered."""
    usage: Usage | None
    """None where the provider did not tell."""
    citations: tuple[Passage, ...] = ()
    """What the answer stands on, in order of time."""
    finish_reason: str = "stop"
    """`stop`, or `length` where max_tokens ended it."""


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
    """How many tokens it reads at once, where its provider tells."""


@dataclass(frozen=True)
class Provider:
    """An OpenAI-compatible server: where it is, and how to talk to it."""

    api_key: str = field(default="", repr=False)
    base_url: str = ""
    """Empty: OpenAI's own, if there is a key."""
    default_model: str = ""
    """Empty: `gpt-3.5-turbo` where it is known, else the first that the provider lists."""
    context_tokens: int = 0
    """0: ask the provider."""
    timeout_seconds: float = 300.0
    """The longest that one answer may take, with all its retries."""

    @property
    def is_configured(self) -> bool:
        return bool(self.api_key or self.base_url)


class LanguageModel(Protocol):
    """Every method raises LanguageModelError when there is no answer."""

    @property
    def name(self) -> str:
        """What is told as `model_used`."""
        ...

    async def answer(self, question: Question) -> Answer: ...

    def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        """The answer's text in pieces, then the whole Answer."""
        ...

    async def parts(self, transcript: Transcript) -> Sequence[Transcript]:
        """The transcript in pieces that can be summarized at once; one piece if it fits as it is."""
        ...

    async def condense(self, part: Transcript) -> Sequence[Passage]:
        """What matters of one part, several times shorter, to be summarized together with that of the others."""
        ...

    async def summarize(self, transcript: Transcript, *, style: Style, max_words: int) -> str:
        """A summary of what `parts` gives back in one piece, of at most so many words (text.count_words)."""
        ...

    async def topics(self, transcript: Transcript, *, summary: str) -> Sequence[str]:
        """3 to 8 short phrases."""
        ...
