# Two services. For NVIDIA GPUs, on all that NVIDIA's container has:  docker build -t vjepa2-serve .
# For CPUs, with the embedded engine:                                 docker build -t vjepa2-serve:cpu --target cpu .
# To export bundles for CPUs:             docker build -t vjepa2-serve:export-cpu --target export-cpu .

FROM python:3.12-slim AS cpu-install
WORKDIR /app
RUN python -m venv /opt/venv
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY archive archive
COPY commandline commandline
COPY consumer consumer
COPY engines engines
COPY evaluation evaluation
COPY export export
COPY sampling sampling
COPY server server
COPY teaching teaching
COPY video video
COPY vjepa vjepa
RUN /opt/venv/bin/pip install --no-cache-dir --quiet --constraint requirements.lock --editable . \
    && /opt/venv/bin/python -m compileall -q archive commandline consumer engines evaluation export sampling server teaching video vjepa

# A service on a CPU needs no FFmpeg of the consumer's, no installer, and of OpenVINO only what runs ONNX files on a CPU.
FROM cpu-install AS cpu-build
RUN /opt/venv/bin/pip uninstall --yes --quiet av setuptools pip \
    && find /opt/venv/lib -regex '.*/openvino/libs/.*\(_[gn]pu_plugin\|tensorflow\|pytorch\|paddle\|gguf\|cache.json\).*' -delete

FROM python:3.12-slim AS cpu
RUN useradd --no-log-init --uid 10001 --create-home service
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

# The export for CPUs. PyPI's torch contains CUDA, so torch comes from PyTorch's index of builds for CPUs.
FROM cpu-install AS export-cpu-build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/venv/bin/pip install --no-cache-dir --quiet --constraint requirements.lock --extra-index-url "$TORCH_INDEX" \
    --editable '.[container]' nncf torch

FROM python:3.12-slim AS export-cpu
RUN useradd --system --uid 10001 --create-home service \
    && install --directory --owner=service --group=service /var/cache/huggingface
WORKDIR /app
COPY --from=export-cpu-build /opt/venv /opt/venv
COPY --from=export-cpu-build /app /app
COPY --from=export-cpu-build --chown=service:service /app/engines/bundles /app/engines/bundles
ENV PATH=/opt/venv/bin:$PATH HF_HOME=/var/cache/huggingface
USER 10001
ENTRYPOINT ["python", "-m", "export"]

# The environment sees what the container has, and adds what it lacks; nothing of the container is replaced.
FROM nvcr.io/nvidia/pytorch:25.10-py3 AS gpu-build
WORKDIR /app
RUN python3 -m venv --system-site-packages /opt/venv
COPY deploy/constraints.py requirements.lock /tmp/
RUN /opt/venv/bin/python /tmp/constraints.py /tmp/requirements.lock > /tmp/constraints.txt
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY archive archive
COPY commandline commandline
COPY consumer consumer
COPY engines engines
COPY evaluation evaluation
COPY export export
COPY sampling sampling
COPY server server
COPY teaching teaching
COPY video video
COPY vjepa vjepa
RUN PIP_CONSTRAINT=/tmp/constraints.txt /opt/venv/bin/pip install --no-cache-dir --quiet --editable '.[container]' \
    && /opt/venv/bin/python /tmp/constraints.py --check /opt/venv \
    && /opt/venv/bin/python -m compileall -q archive commandline consumer engines evaluation export sampling server teaching video vjepa

FROM nvcr.io/nvidia/pytorch:25.10-py3 AS gpu
RUN test -x /opt/nvidia/nvidia_entrypoint.sh \
    && useradd --no-log-init --uid 10001 --create-home service \
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
# NVIDIA's entry point selects the container's CUDA libraries where the machine's driver is older than they are.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python", "-m", "server"]
