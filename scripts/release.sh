#!/bin/sh
# release.sh [ARCHITECTURE…]: makes a release in dist/VERSION: for each architecture a Debian package, the files of the
# container image and a software bill of materials, and SHA256SUMS over all of them. The version is the commit's tag
# without its "v". The same commit, Go and Debian release give the same bytes, which release-check.sh checks.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/project.sh
need_go
[ $# -gt 0 ] || set -- amd64 arm64 armhf

# The generator of the bill of materials is CycloneDX's own, from the Go module proxy.
GOMOD=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

VERSION=$(version)
SOURCE_DATE_EPOCH=$(epoch)
export VERSION SOURCE_DATE_EPOCH
if ! git describe --tags --exact-match >/dev/null 2>&1; then
	echo "release.sh: this commit has no tag, so this is a snapshot; a release begins with: git tag -s v1.2.3" >&2
fi
case $VERSION in *-dirty) echo "release.sh: there are changes that are not committed: nobody else can make the same" >&2 ;; esac
top=$PWD
OUT=${OUT:-dist/$VERSION}
rm -rf "$OUT"
umask 022
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
export OUT
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sh scripts/deb.sh "$@"

for arch in "$@"; do
	name=bluez-esphome_${VERSION}_$arch
	# The image has the same program as the package.
	files=$work/$arch/bluez-esphome-$VERSION
	mkdir -p "$files/bin" "$files/docs" "$files/configs" "$work/deb"
	dpkg-deb -x "$OUT"/bluez-esphome_*_"$arch".deb "$work/deb"
	install -m 755 "$work/deb/usr/bin/bluez-esphome" "$files/bin/bluez-esphome"
	rm -rf "$work/deb"
	cp -r docs/container "$files/docs/"
	rm -rf "$files/docs/container/config"
	# Links to what is not in the archive become plain text.
	awk -v file=docs/container.md -v packed="$(echo docs/container/*)" -f scripts/deb/docs.awk docs/container.md >"$files/docs/container.md"
	cp configs/bluez-esphome.yaml "$files/configs/"
	cp LICENSE "$files/"
	chmod -R u=rwX,go=rX "$files"
	(cd "$work/$arch" && tar --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		-cf - "bluez-esphome-$VERSION") | gzip -9n >"$OUT/${name}_container.tar.gz"
	echo "built $OUT/${name}_container.tar.gz"

	# The checksum of the tool is in its output, so it is built the same everywhere. The only date there is today's.
	(cd "$work/$arch" && env CGO_ENABLED=0 GOFLAGS=-trimpath "$GO" run "$GOMOD" bin -json -std -noserial -version "v$VERSION" \
		-output "$work/$arch.json" "$files/bin/bluez-esphome")
	sed "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)\"/" \
		"$work/$arch.json" >"$OUT/$name.cdx.json"
	echo "built $OUT/$name.cdx.json"
done
(cd "$OUT" && LC_ALL=C sha256sum -- *.deb *.json *.gz >SHA256SUMS)
cd "$top"
echo "built $OUT/SHA256SUMS"
