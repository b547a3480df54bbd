# One image for the API, the workers and maintenance; the command line says which one it is.
# CPU build of torch unless `--build-arg TORCH=cuda`.

FROM python:3.11-slim AS dependencies
ARG TORCH=cpu
# Where pip looks, if not on PyPI; build arguments without a value leave no trace.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /opt/venv
# An empty package first: this layer, by far the largest, changes only with the versions.
COPY pyproject.toml constraints.txt ./
COPY scripts/install.py scripts/
RUN mkdir -p src/model_trainer \
    && touch src/model_trainer/__init__.py \
    && /opt/venv/bin/python scripts/install.py --torch "$TORCH" --extras all --no-editable \
    && /opt/venv/bin/pip uninstall --yes model-trainer

FROM dependencies AS package
COPY src src
# Which commit this is: an image has no git to ask. `make start` hands it in.
ARG GIT_COMMIT=
RUN echo "$GIT_COMMIT" > src/model_trainer/COMMIT
RUN /opt/venv/bin/pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HOME=/data/hf
# The data folders are writable for whichever user the stack is started as; see CONTAINER_UID in docker-compose.yml.
RUN groupadd --gid 1000 trainer \
    && useradd --uid 1000 --gid trainer --create-home trainer \
    && install --directory --mode=1777 /data /data/corpus /data/artifacts /data/runs /data/logs /data/hf
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /wheels /wheels
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 1000:1000
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["model-trainer"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
