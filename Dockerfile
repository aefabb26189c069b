# Two services. For NVIDIA GPUs, on all that NVIDIA's container has:  docker build -t vjepa2-serve .
# For CPUs, with the embedded engine:                                 docker build -t vjepa2-serve:cpu --target cpu .

FROM python:3.12-slim AS cpu-build
WORKDIR /app
RUN python -m venv /opt/venv
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY consumer consumer
COPY engines engines
COPY export export
COPY sampling sampling
COPY server server
RUN /opt/venv/bin/pip install --no-cache-dir --quiet --constraint requirements.lock --editable . \
    && /opt/venv/bin/python -m compileall -q consumer engines export sampling server

FROM python:3.12-slim AS cpu
RUN useradd --system --uid 10001 --create-home service
WORKDIR /app
COPY --from=cpu-build /opt/venv /opt/venv
# The code belongs to root, so that the service cannot change what it runs. Bundles are what an export writes.
COPY --from=cpu-build /app /app
COPY --from=cpu-build --chown=service:service /app/engines/bundles /app/engines/bundles
ENV PATH=/opt/venv/bin:$PATH VJEPA_HOST=0.0.0.0 VJEPA_PORT=8000 VJEPA_LOG_FORMAT=json
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "server.healthcheck"]
ENTRYPOINT ["python", "-m", "server"]

# The environment sees what the container has, and adds what it lacks; nothing of the container is replaced.
FROM nvcr.io/nvidia/pytorch:25.10-py3 AS gpu-build
WORKDIR /app
RUN python3 -m venv --system-site-packages /opt/venv
COPY deploy/constraints.py requirements.lock /tmp/
RUN /opt/venv/bin/python /tmp/constraints.py /tmp/requirements.lock > /tmp/constraints.txt
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY consumer consumer
COPY engines engines
COPY export export
COPY sampling sampling
COPY server server
RUN PIP_CONSTRAINT=/tmp/constraints.txt /opt/venv/bin/pip install --no-cache-dir --quiet --editable '.[container]' \
    && /opt/venv/bin/python /tmp/constraints.py --check /opt/venv \
    && /opt/venv/bin/python -m compileall -q consumer engines export sampling server

FROM nvcr.io/nvidia/pytorch:25.10-py3 AS gpu
RUN useradd --system --uid 10001 --create-home service \
    && install --directory --owner=service --group=service /var/cache/huggingface
WORKDIR /app
COPY --from=gpu-build /opt/venv /opt/venv
# The code belongs to root, so that the service cannot change what it runs. Bundles are what an export writes.
COPY --from=gpu-build /app /app
COPY --from=gpu-build --chown=service:service /app/engines/bundles /app/engines/bundles
ENV PATH=/opt/venv/bin:$PATH VJEPA_HOST=0.0.0.0 VJEPA_PORT=8000 VJEPA_LOG_FORMAT=json HF_HOME=/var/cache/huggingface \
    TRITON_CACHE_DIR=/tmp/triton
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["python", "-m", "server.healthcheck"]
ENTRYPOINT ["python", "-m", "server"]
