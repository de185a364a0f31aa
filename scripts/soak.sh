#!/bin/sh
# soak.sh DURATION RACE: runs the soak test for DURATION (60m), with the race detector if RACE is 1, and writes
# docs/evidence/soak.md. SOAK_FLAGS may have further flags of tests/soak.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
need
race=
[ "${2:-}" != 1 ] || race=-race
# The variable is a list of flags.
# shellcheck disable=SC2086
exec "$GO" run ./tests/soak -duration "${1:-60m}" $race ${SOAK_FLAGS:-}
