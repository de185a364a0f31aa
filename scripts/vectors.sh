#!/bin/sh
# vectors.sh: prints how much of each group of internal/testdata/esphome-vectors.json the tests cover.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go

out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$GO" test -v -count=1 ./internal/ble ./internal/apiwire ./internal/apiconn ./internal/scanner ./internal/gatt \
	./internal/apiserver >"$out" || { tail -n 40 "$out"; exit 1; }
sed -n -e 's/^ *[a-z_]*_test\.go:[0-9]*: //' -e '/on purpose: /d' \
	-e '/^\(advertisements\|uuid\|addresses\|apple_prefilter\|habluetooth_[a-z]*\): /p' \
	-e '/^\(covered\|replayed\) [0-9a-z]/p' -e '/ vectors covered$/p' -e '/^esphome-vectors\.json: /p' "$out"
