# docker build --target web .      the web process: light, without any engine
# docker build --target worker .   what transcribes, finds out who speaks, and does what a person waits for
FROM python:3.11-slim-bookworm AS web
ENV PYTHONUNBUFFERED=1 \
    TRANSCRIBER_DATA_DIR=/data
WORKDIR /srv/transcriber
COPY . .
# The client programs of PostgreSQL 15, the server's version in compose.yaml, for backups; the filter of decoders.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client libseccomp2 \
    && rm -rf /var/lib/apt/lists
RUN pip install --no-cache-dir --editable . \
    && useradd --create-home transcriber \
    && mkdir -p /data/files /data/models \
    && chown -R transcriber /data
USER transcriber
EXPOSE 8000
CMD ["python", "manage.py", "serve", "--only", "web", "--host", "0.0.0.0"]

FROM web AS worker
USER root
RUN pip install --no-cache-dir --editable '.[all]'
USER transcriber
CMD ["python", "manage.py", "serve", "--only", "speech,interactive"]
