#!/bin/sh
# test-stress.sh RUNS: all of make test so many times, beside two programs that keep the processors busy; adds a row for each run
# to docs/evidence/stress.md and counts those of this commit that are there already.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
need
"$GO" build -o bin/run-tests ./tests/run
"$GO" build -o bin/stress ./tests/stress
exec bin/stress -runs "${1:-10}"
