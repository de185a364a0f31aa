#!/bin/sh
# fuzz.sh TIME: runs every fuzz target for TIME (30s), also after one has found a fault. Go writes the input that failed
# to the package's testdata/fuzz: mend the fault and commit that file, and go test will repeat it from then on. Go may
# not spend its default of up to a minute on making a new input smaller: it would try few others.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
time=${1:-30s}
targets=0
failed=
for pkg in $("$GO" list ./...); do
	for target in $("$GO" test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		targets=$((targets + 1))
		echo "== $pkg $target"
		"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$pkg" || failed="$failed $target"
	done
done
echo "$targets fuzz targets, $time each"
if [ -n "$failed" ]; then
	echo "found something:$failed" >&2
	exit 1
fi
