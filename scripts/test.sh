#!/bin/sh
# test.sh PART…: runs parts in the given order: announce, need, all, nightly, unit, clients, clients-table,
# golden-table, golden-full. RUNFLAGS has further flags of tests/run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
need_own

# tests FLAG…: builds and runs tests/run.
tests() {
	"$GO" build -o bin/run-tests ./tests/run
	# shellcheck disable=SC2086
	bin/run-tests "$@" ${RUNFLAGS:-}
}

for part in "$@"; do
	case $part in
	announce) announce ;;
	need) need ;;
	all) tests ;;
	nightly) tests -nightly -uncached ;;
	unit) tests -parts unit,vectors ;;
	clients) tests -parts system ;;
	clients-table)
		# In the package's own folder, where go test lets the table through.
		"$GO" -C tests/clients test -race -count=1 -timeout 40m -args -write
		;;
	golden-table) "$GO" run ./tests/golden ;;
	golden-full) "$GO" run ./tests/golden -full ;;
	*)
		echo "test.sh: no part $part" >&2
		exit 2
		;;
	esac
done
