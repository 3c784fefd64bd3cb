"""The catalogue of Whisper models: names, sizes, languages.

weights.py finds and downloads their weights.
"""

from dataclasses import dataclass

Engine = str
"""`faster-whisper` or `openai-whisper`: a key of `engines.loading.ENGINES`."""

# The codes of Whisper's tokenizer: ISO 639-1, except `haw` (639-2) and `jw` (Javanese).
_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th "
    "ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr "
    "pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt "
    "haw ln ha ba jw su"
)
_LANGUAGES = frozenset(_CODES.split())
# Their English names, in the same order.
_NAMES = (
    "english chinese german spanish russian korean french japanese portuguese turkish polish catalan dutch arabic "
    "swedish italian indonesian hindi finnish vietnamese hebrew ukrainian greek malay czech romanian danish hungarian "
    "tamil norwegian thai urdu croatian bulgarian lithuanian latin maori malayalam welsh slovak telugu persian latvian "
    "bengali serbian azerbaijani slovenian kannada estonian macedonian breton basque icelandic armenian nepali "
    "mongolian bosnian kazakh albanian swahili galician marathi punjabi sinhala khmer shona yoruba somali afrikaans "
    "occitan georgian belarusian tajik sindhi gujarati amharic yiddish lao uzbek faroese haitian pashto turkmen "
    "nynorsk maltese sanskrit luxembourgish burmese tibetan tagalog malagasy assamese tatar hawaiian lingala hausa "
    "bashkir javanese sundanese"
)
_CODES_BY_NAME = {
    **dict(zip(_NAMES.split(), _CODES.split(), strict=True)),
    "cantonese": "yue",
    "castilian": "es",
    "farsi": "fa",
    "filipino": "tl",
    "flemish": "nl",
    "haitian creole": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "myanmar": "my",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
_DETECT = ("", "auto")
_LANGUAGES_V3 = _LANGUAGES | {"yue"}
_ENGLISH = frozenset({"en"})


class UnknownModelError(ValueError):
    """No model has this name."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of the Whisper family.

    `size_mb` is the nominal size of its 16-bit weights in megabytes (10^6 bytes), `hub_repo` the
    hub's repository of its CTranslate2 weights, `openai_name` its name in openai-whisper (None
    if that package cannot run it: it assumes the alignment heads of OpenAI's own models).
    """

    name: str
    full_name: str
    description: str
    size_mb: float
    hub_repo: str
    openai_name: str | None
    languages: frozenset[str]

    @property
    def is_english_only(self) -> bool:
        return self.languages == _ENGLISH


def _openai(
    name: str,
    description: str,
    size_mb: float,
    *,
    full_name: str | None = None,
    hub_repo: str | None = None,
    languages: frozenset[str] = _LANGUAGES,
) -> ModelInfo:
    return ModelInfo(
        name=name,
        full_name=full_name or f"openai/whisper-{name}",
        description=description,
        size_mb=size_mb,
        hub_repo=hub_repo or f"Systran/faster-whisper-{name}",
        openai_name=name,
        languages=_ENGLISH if name.endswith(".en") else languages,
    )


def _distil(name: str, description: str, size_mb: float, *, hub_repo: str) -> ModelInfo:
    # All were distilled on English only, including those with a multilingual vocabulary.
    return ModelInfo(
        name=name,
        full_name=f"distil-whisper/{name}",
        description=description,
        size_mb=size_mb,
        hub_repo=hub_repo,
        openai_name=None,
        languages=_ENGLISH,
    )


_TABLE = (
    _openai("tiny.en", "Fastest, English optimized", 75.5),
    _openai("tiny", "Fastest, multilingual, least accurate", 75.5),
    _openai("base.en", "Fast, English optimized", 145.2),
    _openai("base", "Fast, multilingual", 145.2),
    _openai("small.en", "Balanced, English optimized", 483.5),
    _openai("small", "Balanced, multilingual", 483.5),
    _openai("medium.en", "Accurate, slow without a GPU, English optimized", 1527.9),
    _openai("medium", "Accurate, slow without a GPU, multilingual", 1527.9),
    _openai(
        "large-v1",
        "First large model, superseded by large-v2 and large-v3",
        3086.9,
        full_name="openai/whisper-large",
    ),
    _openai("large-v2", "Very accurate, slow without a GPU, multilingual", 3086.9),
    _openai(
        "large-v3",
        "Most accurate, slow without a GPU, multilingual",
        3087.3,
        languages=_LANGUAGES_V3,
    ),
    _openai(
        "large-v3-turbo",
        "Nearly as accurate as large-v3 and several times faster, multilingual",
        1617.9,
        hub_repo="mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        languages=_LANGUAGES_V3,
    ),
    _distil(
        "distil-small.en",
        "Distilled from small.en: faster, English only",
        332.3,
        hub_repo="Systran/faster-distil-whisper-small.en",
    ),
    _distil(
        "distil-medium.en",
        "Distilled from medium.en: faster, English only",
        788.8,
        hub_repo="Systran/faster-distil-whisper-medium.en",
    ),
    _distil(
        "distil-large-v2",
        "Distilled from large-v2: much faster, English only",
        1512.9,
        hub_repo="Systran/faster-distil-whisper-large-v2",
    ),
    _distil(
        "distil-large-v3",
        "Distilled from large-v3: much faster, English only",
        1512.9,
        hub_repo="Systran/faster-distil-whisper-large-v3",
    ),
)

MODELS: dict[str, ModelInfo] = {model.name: model for model in _TABLE}

_ALIASES = {
    "large": "large-v3",
    "turbo": "large-v3-turbo",
    "openai/whisper-turbo": "large-v3-turbo",
    # The hub's `openai/whisper-large` is the first large model, openai-whisper's `large` the latest.
    "whisper-large": "large-v1",
}


def resolve(name: str) -> ModelInfo:
    """Find a model by name or alias: `tiny.en`, `whisper-tiny.en`, `openai/whisper-tiny.en`, `turbo`.

    Raises UnknownModelError.
    """
    key = name.strip().lower()
    for candidate in (_ALIASES.get(key, key), key.removeprefix("whisper-")):
        if model := MODELS.get(_ALIASES.get(candidate, candidate)):
            return model
    for model in MODELS.values():
        if key in (model.full_name.lower(), model.hub_repo.lower()):
            return model
    raise UnknownModelError(f"Unknown model {name!r}. Known models: {', '.join(MODELS)}.")


def models_for(engine: Engine) -> list[ModelInfo]:
    """The models that `engine` can run, in display order."""
    return [model for model in MODELS.values() if can_run(model, engine=engine)]


def can_run(model: ModelInfo, *, engine: Engine) -> bool:
    return engine == "faster-whisper" or model.openai_name is not None


def languages(model: ModelInfo) -> frozenset[str]:
    """The codes of the languages that `model` supports."""
    return model.languages


def language_code(written: str) -> str:
    """The code that Whisper has for a language, however it is written; empty for one that is to be detected.

    `EN`, `en-US`, `en_GB` and `English` are `en`; ISO's `jv` (Javanese) is `jw`; `auto` is detected. What is no
    language is returned as it is, in lower case.
    """
    name = written.strip().lower()
    if name in _DETECT:
        return ""
    code = _CODES_BY_NAME.get(name, name.replace("_", "-").partition("-")[0])
    code = {"jv": "jw", "iw": "he", "in": "id", "nb": "no", "fil": "tl", "cmn": "zh"}.get(
        code, code
    )
    return code if code in _LANGUAGES_V3 else name


def supports_language(model: ModelInfo, code: str) -> bool:
    return code.lower() in model.languages
