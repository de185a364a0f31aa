#!/bin/sh
# test.sh PART…: runs the parts in order: need, unit, clients, clients-table, golden, golden-table,
# golden-full.
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
	clients | clients-table)
		echo "== real clients on real buses"
		# shellcheck disable=SC2046
		"$GO" test -race -shuffle=on -count=1 -timeout 15m $("$GO" list ./tests/... | grep -v '/tests/clients$')
		write=
		[ "$part" = clients ] || write=-write
		# In the package's own folder, where go test lets the table through.
		# shellcheck disable=SC2086
		"$GO" -C tests/clients test -race -count=1 -timeout 15m -args $write
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
