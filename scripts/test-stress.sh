#!/bin/sh
# test-stress.sh RUNS: runs make test that number of times, beside two programs that keep the processors busy. It adds a
# row for each run to docs/evidence/stress.md. Rows of this commit that are there already count as runs.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
need
"$GO" build -o bin/run-tests ./tests/run
"$GO" build -o bin/stress ./tests/stress
exec bin/stress -runs "${1:-10}"
