#!/bin/sh
# newer-bluez.sh: unpacks the bluetoothctl of a newer Debian, with its libraries, into dist/, and prints the command
# that runs it. It installs nothing; apt keeps its state in dist/ as well. It needs a Debian whose keyring has the keys
# of the newer one, and a mirror of the newer one.
set -eu
cd "$(dirname "$0")/.."
suite=trixie
dir=$PWD/dist/bluez-$suite
packages='bluez libc6 libdbus-1-3 libglib2.0-0t64 libreadline8t64 libtinfo6 libsystemd0 libpcre2-8-0 libcap2 libffi8 libatomic1'

if [ ! -x "$dir/bluetoothctl" ]; then
	for tool in apt-get dpkg-deb; do
		command -v $tool >/dev/null 2>&1 || { echo "newer-bluez.sh: $tool is missing" >&2; exit 1; }
	done
	# shellcheck disable=SC2016
	mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
	[ -n "$mirror" ] || { echo "newer-bluez.sh: apt knows no Debian mirror (apt-get update)" >&2; exit 1; }
	mkdir -p "$PWD/dist"
	new=$(mktemp -d "$PWD/dist/bluez-$suite.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 1' INT TERM
	mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/apt/empty" "$new/root"
	: >"$new/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$new/apt/sources.list"
	cat >"$new/apt/conf" <<-C
		Dir::Etc::sourcelist "$new/apt/sources.list";
		Dir::Etc::sourceparts "$new/apt/empty";
		Dir::Etc::preferences "$new/apt/none";
		Dir::Etc::preferencesparts "$new/apt/empty";
		Dir::State "$new/apt";
		Dir::State::status "$new/apt/status";
		Dir::Cache "$new/apt";
		Acquire::Languages "none";
		APT::Sandbox::User "$(id -un)";
	C
	(
		cd "$new/apt/archives"
		APT_CONFIG=$new/apt/conf timeout 120 apt-get -q update
		# The word splitting is meant.
		# shellcheck disable=SC2086
		APT_CONFIG=$new/apt/conf timeout 120 apt-get -q download $packages
		for deb in *.deb; do dpkg-deb -x "$deb" "$new/root"; done
	) >&2
	rm -rf "$new/apt"
	cat >"$new/bluetoothctl" <<-'C'
		#!/bin/sh
		root=$(dirname "$0")/root
		loader=$(find "$root/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
		exec "$loader" --library-path "$(dirname "$(find "$root/usr/lib" -name 'libglib-2.0.so.0' | head -n 1)")" "$root/usr/bin/bluetoothctl" "$@"
	C
	chmod 755 "$new" "$new/bluetoothctl"
	"$new/bluetoothctl" --version >&2
	# Another run may have done it meanwhile.
	mv -T "$new" "$dir" 2>/dev/null || [ -x "$dir/bluetoothctl" ]
fi
echo "$dir/bluetoothctl"
