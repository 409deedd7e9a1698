# The service with the included models, as an ordinary user, on port 8000.
#
#   docker build -t ddpm .
#
# BASE      any Debian-like image; python3 is installed where it has none.
# PIP_ARGS  more arguments for pip. PyPI's torch for Linux comes with CUDA; for a smaller image that
#           runs on a CPU, give the address of PyTorch's CPU builds: "--extra-index-url …".
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS base
RUN python3 -c 'import venv, ensurepip' 2>/dev/null \
    || (apt-get update \
        && apt-get install -y --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*)

FROM base AS build
ARG PIP_ARGS=""
WORKDIR /srv
COPY pyproject.toml constraints.txt ./
# Only the list of dependencies is needed here, so a change of the source leaves this layer as it is.
RUN mkdir app diffusion \
    && touch README.md app/__init__.py diffusion/__init__.py \
    && python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-compile -c constraints.txt ${PIP_ARGS} -e '.[openvino]' \
    && /venv/bin/pip uninstall -y pip

FROM base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ddpm \
    && install -d -o ddpm /jobs /cache
WORKDIR /srv
COPY --from=build /venv /venv
COPY app app
COPY diffusion diffusion
COPY models models
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
