# The engine. One builder for the whole workspace; webhook-receiver/ and datagen/ use the same stage, so that Docker's cache serves all three.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /highwater
COPY . .
RUN cargo build --release --locked --package highwater --package webhook-receiver --package datagen

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --no-create-home highwater
COPY --from=build /highwater/target/release/highwater /usr/local/bin/
COPY pipelines /etc/highwater/pipelines
USER highwater
EXPOSE 9464
CMD ["highwater", "run", "/etc/highwater/pipelines/engagement.toml"]
