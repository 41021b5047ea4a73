# bnsuite with pinned versions: Python by the base image; PyTorch, CUDA and cuDNN by the hashed lock.
#
#   docker build -t bnsuite .
#   docker run --rm bnsuite --device cpu
#   mkdir -p results
#   docker run --rm --gpus all -v "$PWD/results:/results" --user "$(id -u):$(id -g)" bnsuite
# A tag may move. To pin the base, give its digest: make image BASE_IMAGE=python:3.12.12-slim-bookworm@sha256:...
ARG BASE_IMAGE=python:3.12.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
# The label allows pruning this stage if a build leaves it behind.
LABEL org.opencontainers.image.title="bnsuite-build"
WORKDIR /build
RUN python3 -m venv /opt/bnsuite
ENV PATH=/opt/bnsuite/bin:${PATH}
COPY requirements/bench.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bench.txt
COPY pyproject.toml README.md LICENSE ./
COPY suite suite
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM ${BASE_IMAGE}
# Without a default of its own it is the one above, as it was given: runs record it.
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bnsuite" \
      org.opencontainers.image.description="Benchmark and regression suite for batch normalization" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /opt/bnsuite /opt/bnsuite
COPY baselines /usr/share/bnsuite/baselines
# On a GPU, Triton compiles its launchers with a C compiler (torch.compile). There is no C++ compiler: on a CPU, checks
# of torch.compile's inductor are SKIPPED in this image.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bnsuite \
 && install -d -o bnsuite -g bnsuite -m 0755 /results
# NVIDIA's container runtime reads the NVIDIA_ variables. To accept baselines, mount a folder and name it:
#   docker run --rm -v "$PWD/results:/results" -v "$PWD/baselines:/baselines" --user "$(id -u):$(id -g)" \
#     bnsuite accept --baselines /baselines
ENV PATH=/opt/bnsuite/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    BNSUITE_BASELINES=/usr/share/bnsuite/baselines \
    BNSUITE_OUT=/results \
    BNSUITE_REVISION=${REVISION} \
    BNSUITE_BASE=${BASE_IMAGE} \
    HOME=/tmp
USER bnsuite
WORKDIR /results
VOLUME /results
ENTRYPOINT ["bnsuite"]
