#!/bin/sh
# run.sh PROGRAM: the demonstration, or with CONFIG the daemon with real proxies on the bus BUS.
set -eu
program=$1
cd "$(dirname "$0")/.."
. scripts/lib.sh
if ! command -v dbus-daemon >/dev/null 2>&1; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "bluez-esphome: missing Debian packages: dbus-daemon (apt-get install it as root, or run this as root)" >&2
		exit 1
	fi
	echo "== installing dbus-daemon"
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends dbus-daemon >/dev/null
fi
if [ -n "${CONFIG:-}" ]; then
	exec "$program" run --config "$CONFIG" --bus "${BUS:-private}"
fi
exec "$program" demo
