# docker build --tag slipway .
# docker run --publish 127.0.0.1:8000:8000 --volume slipway:/var/lib/slipway --env SLIPWAY_RUNTIME=process slipway
#
# The server listens beyond loopback in here, so that the runtime `process`, which starts programs inside this container
# for whoever may call, has to be asked for by name.

ARG PYTHON_IMAGE=python:3.11-slim
ARG NODE_IMAGE=node:24-slim

FROM ${NODE_IMAGE} AS graphiql
WORKDIR /build/app/web/graphiql
COPY app/web/graphiql/package.json app/web/graphiql/package-lock.json app/web/graphiql/.npmrc ./
RUN npm ci
COPY app/web/graphiql ./
RUN npm run build

FROM ${PYTHON_IMAGE} AS install
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/slipway
COPY requirements.lock ./
RUN /opt/slipway/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY app app
COPY --from=graphiql /build/app/web/static app/web/static
RUN /opt/slipway/bin/pip install --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE}
# PostgreSQL's initdb insists on a user that has a name.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/slipway --create-home --shell /usr/sbin/nologin slipway
COPY --from=install /opt/slipway /opt/slipway
ENV PATH=/opt/slipway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SLIPWAY_HOST=0.0.0.0 \
    SLIPWAY_DATA_DIR=/var/lib/slipway
# By number, as Kubernetes' runAsNonRoot asks for.
USER 10001:10001
WORKDIR /var/lib/slipway
VOLUME /var/lib/slipway
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"SLIPWAY_PORT\") or 8000}/health', timeout=4)"]
ENTRYPOINT ["slipway"]
CMD ["serve"]
