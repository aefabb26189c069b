# The service on the embedded CPU engine. Build: docker build -t vjepa2-serve .  Run: docker run -p 8000:8000 vjepa2-serve
FROM python:3.12-slim

WORKDIR /app
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY consumer consumer
COPY engines engines
COPY export export
COPY server server
RUN pip install --no-cache-dir --constraint requirements.lock --editable .

RUN useradd --system --no-create-home service
USER service
ENV VJEPA_HOST=0.0.0.0 VJEPA_LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=2s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/health', timeout=1)"]
ENTRYPOINT ["python", "-m", "server"]
