# The server with the small model, on a CPU. Build and start: docs/serve.md, "In a container".
FROM python:3.11-slim

# Where the package index has only the CUDA build of torch, name the CPU build and an index that has it:
#   docker build --build-arg TORCH=torch==2.13.0+cpu --build-arg PIP_EXTRA_INDEX_URL=… .
ARG TORCH=torch==2.13.0
ARG PIP_EXTRA_INDEX_URL=

WORKDIR /app
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
RUN grep -vE '^(torch|triton|nvidia-|cuda-)' constraints.txt > kept.txt \
    && PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install --no-cache-dir "$TORCH" \
    && PIP_CONSTRAINT=kept.txt pip install --no-cache-dir ".[embedded,serve]"

# Parts and model lie in the image, so that nothing is fetched when it starts and replicas need not share a disk.
ENV VIDEO_SALMONN_HOME=/models OMP_NUM_THREADS=1
RUN video-salmonn setup && chmod -R a+rX /models

RUN useradd --create-home salmonn
USER salmonn
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# One process is the container's first, so SIGTERM reaches it and running requests are answered.
CMD ["video-salmonn", "serve", "--host", "0.0.0.0", "--port", "8000"]
