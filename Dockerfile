# The image: the program, and nothing else. No shell, no libraries, no certificates (the public ones are in the program).
#
# Two ways lead to the same last stage. `docker build .` compiles in the first stage. Without a daemon, or to ship a
# program that is already built, its folder takes that stage's place: --build-context program=<folder>, as
# tests/image/run.sh does.

FROM rust:1.95.0-bookworm AS program
WORKDIR /src
# SQL was checked against the committed query data.
ENV SQLX_OFFLINE=true
COPY . .
# What is compiled survives in caches, not in layers: a change of one crate compiles that crate. Backtraces keep their
# functions and lose their lines, which are three quarters of the file.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo rustc --release --locked --package tallystick --bin tallystick -- -C target-feature=+crt-static && \
    strip --strip-debug -o /tallystick target/release/tallystick

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tallystick" \
      org.opencontainers.image.description="Prepaid credits for SaaS: Stripe in, gRPC out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=program /tallystick /tallystick
# Numbers, so that Kubernetes can see that it is not root.
USER 65532:65532
# gRPC, webhooks, operations.
EXPOSE 7070 7071 7073
ENTRYPOINT ["/tallystick"]
CMD ["--help"]
