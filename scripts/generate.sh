#!/bin/sh
# generate.sh: generates the generated code again; tools/go.mod pins the versions of the generators.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
"$GO" -C tools run ./genproto .. internal/apiwire/apipb/api.proto
