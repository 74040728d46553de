# syntax=docker/dockerfile:1
# Build: docker build --target controller . (or node, or emulator)

# The node's Debian: trixie (13) or, with --build-arg DEBIAN=bookworm, 12.
ARG DEBIAN=trixie

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# With .git, so that the version comes from the tag through Go's build info.
COPY . .
RUN make build
RUN make versitygw

# The controller only talks: no shell, no tools, no root.
FROM gcr.io/distroless/static-debian12:nonroot AS controller
COPY --from=build /src/bin/diskbridge-csi /usr/local/bin/diskbridge-csi
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/diskbridge-csi"]
CMD ["controller"]

# The emulated AWS of values-emulator.yaml.
FROM gcr.io/distroless/static-debian12 AS emulator
COPY --from=build /src/bin/aws-emulator /src/bin/versitygw /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/aws-emulator"]

# The node mounts into the host's mount namespace, so it is root and has the tools for that, no others.
FROM debian:${DEBIAN}-slim AS node
RUN apt-get update \
    && apt-get install -y --no-install-recommends mount util-linux e2fsprogs xfsprogs btrfs-progs fdisk nfs-common s3fs ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/bin/diskbridge-csi /usr/local/bin/diskbridge-csi
ENTRYPOINT ["/usr/local/bin/diskbridge-csi"]
CMD ["node"]
