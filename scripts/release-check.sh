#!/bin/sh
# release-check.sh [ARCHITECTURE…]: makes the release of this commit twice and compares every byte. The second time, the
# folder, the time zone and the language are different, and Go's build cache is empty. Each release takes five minutes
# for all architectures.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q . "$work/one"
mkdir "$work/deeper"
git clone -q . "$work/deeper/two"
(cd "$work/one" && umask 022 && TZ=UTC LC_ALL=C sh scripts/release.sh "$@")
(cd "$work/deeper/two" && umask 077 && TZ=Pacific/Auckland LC_ALL=C.UTF-8 GOCACHE="$work/cache" sh scripts/release.sh "$@")
first=$(echo "$work"/one/dist/*)
second=$(echo "$work"/deeper/two/dist/*)
(cd "$first" && sha256sum -c --quiet SHA256SUMS)
if ! diff -r "$first" "$second"; then
	echo "release-check.sh: two builds of one commit differ" >&2
	exit 1
fi
echo "two builds of ${first##*/} are the same, byte for byte:"
cat "$first/SHA256SUMS"
