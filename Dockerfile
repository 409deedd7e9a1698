# The service with the included models, as an ordinary user, on port 8000. Every file that is
# installed is checked against its SHA-256 in deploy/, which `make lock` writes.
# /cache has the compiled networks, and models of the Hugging Face Hub (HF_HOME says otherwise).
#
#   docker build -t ddpm .
#
# BASE          any Debian-like image; python3 is installed where it has none. A newer one has another
#               digest: `docker buildx imagetools inspect python:3.12-slim-bookworm` tells it.
# REQUIREMENTS  requirements-cuda.txt, or requirements.txt for a much smaller image that runs on a CPU:
#               then PIP_ARGS gives the address of PyTorch's CPU builds, "--extra-index-url …".
# PIP_ARGS      more arguments for pip.
ARG BASE=python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579

FROM ${BASE} AS base
RUN python3 -c 'import venv, ensurepip' 2>/dev/null \
    || (apt-get update \
        && apt-get install -y --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*)

FROM base AS build
ARG PIP_ARGS=""
ARG REQUIREMENTS=requirements-cuda.txt
WORKDIR /build
COPY deploy/requirements*.txt ./
# A change of the source leaves this layer as it is
RUN python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-compile --require-hashes ${PIP_ARGS} -r ${REQUIREMENTS} \
    && python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes ${PIP_ARGS} -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY diffusion diffusion
COPY models models
RUN /tools/bin/python -m hatchling build -t wheel \
    && /venv/bin/pip install --no-index --no-deps --no-compile dist/*.whl \
    && /venv/bin/pip uninstall -y pip

FROM base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ddpm \
    && install -d -o ddpm /jobs /cache
WORKDIR /srv
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DDPM_HOST=0.0.0.0 \
    DDPM_JOBS_FOLDER=/jobs \
    XDG_CACHE_HOME=/cache
USER ddpm
VOLUME /jobs /cache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python3", "-m", "app.health"]
CMD ["ddpm", "serve"]
