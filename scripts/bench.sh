#!/bin/sh
# bench.sh PROGRAM: measures what the program costs beside the reference and writes docs/evidence/benchmarks.md. ROWS=flood,home for
# some rows only, printed and not written; BENCHFLAGS for further flags, such as -json or -quick.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
need
program=$1
"$GO" build -trimpath -o bin/bench ./tests/bench
if [ -n "${ROWS:-}" ]; then
	set -- -rows "$ROWS"
else
	set -- -o docs/evidence/benchmarks.md
fi
# shellcheck disable=SC2086
exec bin/bench -bin "$program" "$@" ${BENCHFLAGS:-}
