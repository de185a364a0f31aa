#!/bin/sh
# bench.sh PROGRAM: compares the cost of the program with that of the reference and writes docs/evidence/benchmarks.md.
# With ROWS=flood,home it measures only these rows, and prints them instead. BENCHFLAGS has further flags, such as -json
# or -quick.
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
