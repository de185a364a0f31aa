#!/bin/sh
# bench-fleet.sh PROGRAM: measures a growing number of daemons that stream to one broker, and writes
# docs/evidence/fleet.md. With BENCHFLAGS, such as "-daemons 1,2 -rates 500", it measures that and prints the result. It
# needs Mosquitto, which make test-stream installs.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
program=$1
"$GO" build -trimpath -o bin/bench ./tests/bench
if [ -z "${BENCHFLAGS:-}" ]; then
	set -- -o docs/evidence/fleet.md
else
	set --
fi
# shellcheck disable=SC2086
exec bin/bench fleet -bin "$program" "$@" ${BENCHFLAGS:-}
