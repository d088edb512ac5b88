FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/xavier
COPY requirements.lock requirements-build.lock ./
RUN /opt/xavier/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels .
RUN /opt/xavier/bin/pip install --no-cache-dir --no-deps --no-index wheels/*.whl
RUN /opt/xavier/bin/pip check

FROM python:3.12-slim
LABEL org.opencontainers.image.title="xavier" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Reproducible weight initialization over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/xavier /opt/xavier
ENV PATH=/opt/xavier/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XAVIER_HOST=0.0.0.0 \
    XAVIER_PORT=8000
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s --retries=3 CMD ["xavier", "health"]
ENTRYPOINT ["xavier"]
CMD ["serve"]
