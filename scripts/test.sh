#!/bin/sh
# test.sh PART…: runs the parts in order: need, unit, clients, golden, golden-table, golden-full.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go

for part in "$@"; do
	case $part in
	need) need ;;
	unit)
		echo "== unit tests, race detector on"
		# ./tests drives real processes: the part "clients".
		# shellcheck disable=SC2046
		"$GO" test -race -shuffle=on $("$GO" list ./... | grep -v /tests)
		echo "== vectors of the native API that they cover"
		GO="$GO" sh scripts/vectors.sh
		;;
	clients)
		echo "== real clients on real buses"
		# shellcheck disable=SC2046
		"$GO" test -race -shuffle=on -count=1 -timeout 15m $("$GO" list ./tests/... | grep -v /muka)
		"$GO" test -count=1 -timeout 5m ./tests/muka # go-bluetooth itself has data races
		;;
	golden)
		echo "== recorded scenarios of bluetoothd"
		"$GO" run ./tests/golden -check
		;;
	golden-table) "$GO" run ./tests/golden ;;
	golden-full) "$GO" run ./tests/golden -full ;;
	*)
		echo "test.sh: no part $part" >&2
		exit 2
		;;
	esac
done
