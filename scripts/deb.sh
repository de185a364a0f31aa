#!/bin/sh
# deb.sh [ARCHITECTURE…]: makes Debian packages in dist/, for amd64, arm64 and armhf if none is named. The version is
# that of VERSION=1.2.3, else that of git. The same commit and Go give the same bytes. DEB_COMPRESS replaces the flag
# -Zxz of dpkg-deb: with -Zgzip -z1, tests save half a minute for each package.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/project.sh
need_go
if ! command -v dpkg-deb >/dev/null 2>&1; then
	echo "bluez-esphome: make deb wants dpkg-deb (Debian: apt install dpkg)" >&2
	exit 1
fi
[ $# -gt 0 ] || set -- amd64 arm64 armhf

stamp=$(version)
# Debian's versions begin with a digit, and "-" stands before Debian's own revision.
case $stamp in
[0-9]*.*) version=$(printf %s "$stamp" | tr - +) ;;
*) version="0~git$(git show -s --format=%cd --date=format:%Y%m%d HEAD 2>/dev/null || echo 0).$(printf %s "$stamp" | tr - +)" ;;
esac
SOURCE_DATE_EPOCH=$(epoch)
# One thread: with several, xz makes other blocks, and the bytes of the package differ.
DPKG_DEB_THREADS_MAX=1
export SOURCE_DATE_EPOCH DPKG_DEB_THREADS_MAX
out=${OUT:-dist}
umask 022
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# binary ARCHITECTURE OUT
binary() {
	case $1 in
	amd64) target="GOARCH=amd64" ;;
	arm64) target="GOARCH=arm64" ;;
	armhf) target="GOARCH=arm GOARM=6" ;; # runs on every Raspberry Pi
	*) echo "deb.sh: no architecture $1; there are amd64, arm64 and armhf" >&2; exit 2 ;;
	esac
	# Without a build ID: it hashes what the compiler was given, and for arm that is not the same with an empty build cache.
	# shellcheck disable=SC2086
	env CGO_ENABLED=0 GOOS=linux $target "$GO" build -trimpath -tags nethttpomithttp2 -ldflags "-s -w -buildid= -X main.version=$version" -o "$2" ./cmd/bluez-esphome
}

bugs=$(bugs | sed -e 's/-/\\-/g' -e 's/[\\&|]/\\&/g') # for roff, and then for sed

# put MODE FROM TO: copies FROM into the package as TO.
put() { install -D -m "$1" "$2" "$root$3"; }
# man FROM SECTION NAME: adds a manual page with the version in it, compressed.
man() {
	install -d "$root/usr/share/man/man$2"
	sed -e "s/@VERSION@/$version/" -e "s|@BUGS@|$bugs|" "$1" | gzip -9n >"$root/usr/share/man/man$2/$3.$2.gz"
}

# The completions are the same for every architecture; a program that runs on this machine prints them.
native=$work/native
CGO_ENABLED=0 "$GO" build -o "$native" ./cmd/bluez-esphome
mkdir "$work/completions"
for shell in bash zsh fish; do
	"$native" completion $shell >"$work/completions/$shell"
done
# bluez-esphome.yaml(5) is the documented configuration itself.
sed -e '/^@CONFIG@$/{' -e 'r /dev/stdin' -e 'd' -e '}' docs/man/bluez-esphome.yaml.5.in >"$work/yaml.5" <<END
$(sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\\&&/" -e 's/-/\\-/g' configs/bluez-esphome.yaml)
END
{
	printf 'bluez-esphome (%s) unstable; urgency=medium\n\n' "$version"
	# The section of CHANGELOG.md for this version, else the first that has entries.
	awk -v version="$version" '
		BEGIN { while ((getline line <"CHANGELOG.md") > 0) if (index(line, "## " version " ") == 1) own = 1 }
		/^## / { if (n) exit; here = !own || $2 == version; next }
		here && /^\* / { n++; sub(/^\* /, "  * "); print; next }
		n && /^  / { print "  " $0 }' CHANGELOG.md |
		awk '{ # at most 80 columns
			line = $0
			while (length(line) > 78) {
				for (i = 78; i > 10 && substr(line, i, 1) != " "; i--);
				print substr(line, 1, i - 1)
				line = "    " substr(line, i + 1)
			}
			print line
		}'
	printf '\n -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$work/changelog.gz"

# The guides, and the files to which they link.
packed="README.md SECURITY.md $(echo docs/*.md) docs/page-light.png docs/page-dark.png docs/page-phone.png
docs/container/Dockerfile docs/container/client.Dockerfile docs/container/compose.yaml configs/grafana-dashboard.json"
packed=$(for doc in $packed; do
	case $doc in docs/architecture.md | docs/dependencies.md) ;; *) printf ' %s' "$doc" ;; esac # for developers
done)

# installed_size FOLDER: prints the size in KiB as Debian counts it, which does not depend on the file system.
installed_size() {
	find "$1" -path "$1/DEBIAN" -prune -o -printf '%y %s\n' | awk '{n += $1 == "f" ? int(($2 + 1023) / 1024) : 1} END {print n}'
}

for arch in "$@"; do
	root=$work/$arch
	mkdir -p "$root/DEBIAN" "$root/usr/bin"
	binary "$arch" "$root/usr/bin/bluez-esphome"
	put 755 scripts/deb/bluez-esphome-setup /usr/sbin/bluez-esphome-setup
	put 644 systemd/bluez-esphome.service /usr/lib/systemd/system/bluez-esphome.service
	put 644 systemd/bluez-esphome-private.service /usr/lib/systemd/system/bluez-esphome-private.service
	put 644 systemd/bluez-esphome-controller.service /usr/lib/systemd/system/bluez-esphome-controller.service
	put 644 systemd/vhci.rules /usr/share/bluez-esphome/vhci.rules
	put 644 systemd/vhci-modules.conf /usr/share/bluez-esphome/vhci-modules.conf
	put 644 systemd/sysusers.conf /usr/lib/sysusers.d/bluez-esphome.conf
	put 644 systemd/tmpfiles.conf /usr/lib/tmpfiles.d/bluez-esphome.conf
	put 644 systemd/bluez-esphome.conf /usr/share/dbus-1/system.d/bluez-esphome.conf
	# BlueZ's file of the same name is in /usr/share. The bus reads both folders, /usr/share first.
	put 644 systemd/org.bluez.service /usr/lib/dbus-1/system-services/org.bluez.service
	put 644 configs/bluez-esphome.yaml /etc/bluez-esphome/bluez-esphome.yaml
	put 644 "$work/completions/bash" /usr/share/bash-completion/completions/bluez-esphome
	put 644 "$work/completions/zsh" /usr/share/zsh/vendor-completions/_bluez-esphome
	put 644 "$work/completions/fish" /usr/share/fish/vendor_completions.d/bluez-esphome.fish
	man docs/man/bluez-esphome.1 1 bluez-esphome
	man docs/man/bluez-esphome-setup.8 8 bluez-esphome-setup
	man "$work/yaml.5" 5 bluez-esphome.yaml
	put 644 "$work/changelog.gz" /usr/share/doc/bluez-esphome/changelog.gz
	GO="$GO" sh scripts/copyright.sh "$root/usr/bin/bluez-esphome" >"$work/copyright"
	put 644 "$work/copyright" /usr/share/doc/bluez-esphome/copyright
	for doc in $packed; do
		install -d "$root/usr/share/doc/bluez-esphome"
		to=${doc#docs/}
		to=${to#configs/}
		case $doc in
		*.md)
			awk -v file="$doc" -v packed="$packed" -f scripts/deb/docs.awk "$doc" >"$work/doc"
			put 644 "$work/doc" "/usr/share/doc/bluez-esphome/$to"
			;;
		*) put 644 "$doc" "/usr/share/doc/bluez-esphome/$to" ;;
		esac
	done
	put 644 scripts/deb/lintian-overrides /usr/share/lintian/overrides/bluez-esphome
	for script in postinst prerm postrm; do
		install -m 755 scripts/deb/$script "$root/DEBIAN/$script"
	done
	echo /etc/bluez-esphome/bluez-esphome.yaml >"$root/DEBIAN/conffiles"
	(cd "$root" && find etc usr -type f -exec md5sum {} + | LC_ALL=C sort -k2 >DEBIAN/md5sums)
	cat >"$root/DEBIAN/control" <<END
Package: bluez-esphome
Version: $version
Architecture: $arch
Maintainer: $MAINTAINER
Installed-Size: $(installed_size "$root")
Depends: default-dbus-system-bus | dbus-system-bus, passwd
Recommends: dbus-daemon | dbus
Suggests: bluez
Section: net
Priority: optional
${HOMEPAGE:+Homepage: $HOMEPAGE
}Description: ESPHome Bluetooth proxies as org.bluez
 bluez-esphome keeps a connection with each of your ESPHome Bluetooth proxies,
 merges what they hear, and publishes it as org.bluez on D-Bus, just as
 bluetoothd does with a local controller. Programs written for BlueZ, such as
 bluetoothctl or bleak, work unchanged.
 .
 It takes the place of bluetoothd on the system bus, or serves a bus of its own
 beside it.
END
	deb=$out/bluez-esphome_${version}_$arch.deb
	# shellcheck disable=SC2086
	dpkg-deb --build --root-owner-group ${DEB_COMPRESS:--Zxz} "$root" "$deb" >/dev/null
	rm -rf "$root"
	echo "built $deb"
done
