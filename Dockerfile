# The service with the included models, as an ordinary user, on port 8000. Every file that is
# installed is checked against its SHA-256 in deploy/, which `make lock` writes.
# /cache has the compiled networks, and models of the Hugging Face Hub (HF_HOME says otherwise).
# /venv/sbom.json lists the Python packages in it (CycloneDX).
#
#   docker build -t ddpm-service .                   runs on a CPU
#   docker build -t ddpm-service:gpu --target gpu .  with CUDA, five times as large
#   docker build -t ddpm-service:ray --target ray .  a node of a Ray cluster (docs/cluster.md), on CPUs
#
# BASE         any Debian-like image; python3 is installed where it has none. A newer one has another
#              digest: `docker buildx imagetools inspect python:3.12-slim-bookworm` tells it.
# TORCH_INDEX  where PyTorch's builds for CPUs are, which are on no other index.
# PIP_ARGS     more arguments for pip.
# REVISION     the commit, for the image's labels.
ARG BASE=python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579

FROM ${BASE} AS base
RUN python3 -c 'import venv, ensurepip' 2>/dev/null \
    || (apt-get update \
        && apt-get install -y --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*)

FROM base AS wheel
ARG PIP_ARGS=""
WORKDIR /build
COPY deploy/requirements*.txt ./
RUN python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes ${PIP_ARGS} -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY diffusion diffusion
COPY models models
RUN /tools/bin/python -m hatchling build -t wheel

FROM base AS packages
WORKDIR /build
COPY deploy/requirements*.txt ./
RUN python3 -m venv /venv

FROM packages AS packages-cpu
ARG PIP_ARGS=""
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# A change of the source leaves this layer as it is. PyTorch's C++ headers and tests are of no use here.
RUN /venv/bin/pip install --no-cache-dir --no-compile --require-hashes \
    --extra-index-url ${TORCH_INDEX} ${PIP_ARGS} -r requirements.txt \
    && cd /venv/lib/python3*/site-packages/torch \
    && rm -r include test && find bin -type f ! -name torch_shm_manager -delete

FROM packages-cpu AS installed-cpu
COPY --from=wheel /tools /tools
COPY --from=wheel /build/dist dist
RUN /venv/bin/pip install --no-index --no-deps --no-compile dist/*.whl \
    && /venv/bin/pip uninstall -y pip \
    && /tools/bin/cyclonedx-py environment --output-reproducible --output-file /venv/sbom.json /venv/bin/python

FROM base AS runtime
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ddpm \
    && install -d -o ddpm -g ddpm /jobs /cache
WORKDIR /srv
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
ARG REVISION=unknown
LABEL org.opencontainers.image.title="DDPM service" \
      org.opencontainers.image.description="Denoising diffusion models over HTTP, one denoising step at a time" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS cpu
COPY --from=installed-cpu /venv /venv

FROM packages-cpu AS installed-ray
ARG PIP_ARGS=""
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /venv/bin/pip install --no-cache-dir --no-compile --require-hashes \
    --extra-index-url ${TORCH_INDEX} ${PIP_ARGS} -r requirements-ray.txt
COPY --from=wheel /tools /tools
COPY --from=wheel /build/dist dist
RUN /venv/bin/pip install --no-index --no-deps --no-compile dist/*.whl \
    && /venv/bin/pip uninstall -y pip \
    && /tools/bin/cyclonedx-py environment --output-reproducible --output-file /venv/sbom.json /venv/bin/python

FROM runtime AS ray
COPY --from=installed-ray /venv /venv

FROM packages AS installed-gpu
ARG PIP_ARGS=""
RUN /venv/bin/pip install --no-cache-dir --no-compile --require-hashes ${PIP_ARGS} -r requirements-cuda.txt
COPY --from=wheel /tools /tools
COPY --from=wheel /build/dist dist
RUN /venv/bin/pip install --no-index --no-deps --no-compile dist/*.whl \
    && /venv/bin/pip uninstall -y pip \
    && /tools/bin/cyclonedx-py environment --output-reproducible --output-file /venv/sbom.json /venv/bin/python

FROM runtime AS gpu
COPY --from=installed-gpu /venv /venv

# Without --target
FROM cpu
