#!/bin/sh
# build.sh OUT: builds the program, stamped with the version.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/project.sh
need_go
need_own
out=$1
version=$(version)
# Static, so that one binary runs on every distribution.
# Our HTTP listener has no TLS and thus no HTTP/2. Without HTTP/2 the program is smaller, on disk and in memory.
CGO_ENABLED=0 "$GO" build -trimpath -tags nethttpomithttp2 -ldflags "-s -w -buildid= -X main.version=$version" -o "$out" ./cmd/bluez-esphome
echo "built $out $version"
