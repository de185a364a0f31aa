#!/bin/sh
# fuzz.sh TIME: runs every fuzz target for TIME (30s) each.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
time=${1:-30s}
targets=0
for pkg in $("$GO" list ./...); do
	for target in $("$GO" test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		targets=$((targets + 1))
		echo "== $pkg $target"
		"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg"
	done
done
echo "$targets fuzz targets, $time each"
