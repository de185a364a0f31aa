#!/bin/sh
# test-clients-extra.sh [NAME…]: runs further clients, each on a demonstration of its own, and prints a table of the
# steps that each has passed. It is not part of make test, since it builds for minutes and installs from three
# registries. It puts the programs into $WORK (default /tmp/clients-extra).
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh
need_go
here=$PWD/tests/clients/extra
WORK=${WORK:-${TMPDIR:-/tmp}/clients-extra}
mkdir -p "$WORK/out"
"$GO" build -o "$WORK/bluez-esphome" ./cmd/bluez-esphome || exit 1
failed=0
printf '%-22s %-22s %6s  %s\n' client version passed "failed steps"

# row NAME VERSION COMMAND…: runs the command on a demonstration and counts its ok and not ok lines.
row() {
	name=$1 version=$2
	shift 2
	timeout 300 "$WORK/bluez-esphome" demo --exec "$*" >"$WORK/out/$name" 2>&1
	count "$name" "$version"
}

# shelf NAME VERSION COMMAND…: the same with the devices of extra/shelf, whose GATT servers are programs.
shelf() {
	name=$1 version=$2
	shift 2
	timeout 300 sh "$here/shelf/with_devices.sh" "$WORK/bluez-esphome" "$@" >"$WORK/out/$name" 2>&1
	count "$name" "$version"
}

# count NAME VERSION prints the row for the output of a client.
count() {
	name=$1 version=$2 out=$WORK/out/$1
	ok=$(grep -c '^ok ' "$out")
	bad=$(grep '^not ok ' "$out" | sed 's/^not ok //; s/:.*//' | paste -sd, -)
	if [ "$ok" -eq 0 ] && [ -z "$bad" ]; then bad="did not run: $(tail -1 "$out")"; fi
	[ -n "$bad" ] && failed=1
	printf '%-22s %-22s %3d/%-3d %s\n' "$name" "$version" "$ok" "$((ok + $(grep -c '^not ok ' "$out")))" "$bad"
}

# python NAME PACKAGE…: makes a virtual environment of PYTHON (default python3) and prints the path of its interpreter.
python() {
	dir=$WORK/venv/$1
	shift
	if [ "$(cat "$dir/installed" 2>/dev/null)" != "$*" ]; then
		rm -rf "$dir"
		"${PYTHON:-python3}" -m venv "$dir" && "$dir/bin/pip" install -q --disable-pip-version-check "$@" >&2 && echo "$*" >"$dir/installed"
	fi
	echo "$dir/bin/python -W ignore"
}

# python312 prints the name of a Python of version 3.12 or later, nothing if there is none.
python312() {
	for p in python3 python3.14 python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
		if "$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
			echo "$p"
			return
		fi
	done
}

rust() {
	mkdir -p "$WORK/$1"
	cp -r "$here/$1/." "$WORK/$1"
	(cd "$WORK/$1" && CARGO_TARGET_DIR="$WORK/target" cargo build -q) >"$WORK/out/$1.build" 2>&1 || tail -3 "$WORK/out/$1.build" >&2
	echo "$WORK/target/debug/$1-client"
}

wants() { case " $names " in *" $1 "*) return 0 ;; esac; return 1; }
names=${*:-bluer btleplug qt simpleble bleak habluetooth dbus-python gio bluetoothctl bluez-tools \
	noble aiobmsble meshtastic upower bluetoothctl-newer}

if wants bluer; then
	p=$(rust bluer)
	row bluer 0.17.4 "$p"
	row bluer-killed 0.17.4 "$here/killed.sh $p hold"
fi
if wants btleplug; then
	p=$(rust btleplug)
	row btleplug 0.11.8 "$here/with_agent.sh $p"
	row btleplug-killed 0.11.8 "$here/killed.sh $p hold"
fi
if wants qt; then
	p="$(python qt PySide6_Essentials==6.12.0 PySide6_Addons==6.12.0) $here/qt.py"
	row qt "PySide6 6.12.0" "QT_QPA_PLATFORM=offscreen $p"
fi
if wants simpleble; then
	for v in 0.10.4 1.2.0; do
		p="$(python simple-$v simplepyble==$v) $here/simpleble.py"
		row simpleble-$v "simplepyble $v" "$p"
	done
fi
if wants bleak; then
	for v in 0.20.2 0.22.3 1.1.1 2.1.1 3.1.0; do
		p="$(python bleak-$v bleak==$v) $here/bleak_any.py"
		row bleak-$v $v "$p"
	done
	row bleak-killed "$v" "$here/killed.sh $p hold"
	row bleak-together "$v" "HOLD='$p hold A4:C1:38:10:00:02 00002a6e-0000-1000-8000-00805f9b34fb' $here/together.sh $p"
fi
if wants habluetooth; then
	p=$(python habluetooth habluetooth==7.1.2 bluetooth-adapters==2.4.0 bleak-retry-connector==4.7.1)
	row habluetooth 7.1.2 "$p $here/habluetooth_scan.py"
fi
# These two need Debian's python3-dbus and python3-gi, for Debian's own Python.
wants dbus-python && row dbus-python "$(/usr/bin/python3 -c 'import dbus; print(dbus.__version__)' 2>&1 | tail -1)" "/usr/bin/python3 $here/dbus_python.py"
wants gio && row gio "$(/usr/bin/python3 -c 'import gi; print("PyGObject", gi.__version__)' 2>&1 | tail -1)" "/usr/bin/python3 $here/gio.py"
wants bluetoothctl && row bluetoothctl-more "$(bluetoothctl --version | tail -1)" "$here/bluetoothctl.sh"
wants bluez-tools && row bluez-tools "$(dpkg-query -W -f '${Version}' bluez-tools 2>&1 | tail -1)" "$here/bluez_tools.sh"
if wants noble; then
	dir=$WORK/noble
	mkdir -p "$dir"
	cp "$here"/noble/*.js* "$dir"
	cmp -s "$dir/package-lock.json" "$dir/node_modules/installed" || {
		npm ci --prefix "$dir" --ignore-scripts --omit=optional --omit-lockfile-registry-resolved=true --no-audit --no-fund --loglevel=error >&2 &&
			cp "$dir/package-lock.json" "$dir/node_modules/installed"
	}
	row noble "2.8.0, dbus-next 0.10.2" "NOBLE_BINDINGS=dbus node $dir/steps.js"
fi
if wants aiobmsble; then
	PYTHON=$(python312)
	if [ -n "$PYTHON" ]; then
		shelf aiobmsble 0.31.0 sh "$here/shelf/aiobmsble.sh" "$(python aiobmsble aiobmsble==0.31.0 | cut -d' ' -f1)"
	else
		printf '%-22s skipped: it wants Python 3.12 or later\n' aiobmsble
	fi
	PYTHON=
fi
wants meshtastic && shelf meshtastic 2.7.11 "$(python meshtastic meshtastic==2.7.11 | cut -d' ' -f1)" "$here/shelf/meshtastic_program.py"
if wants upower; then
	if command -v upower >/dev/null 2>&1; then
		shelf upower "$(dpkg-query -W -f '${Version}' upower 2>&1 | tail -1)" sh "$here/shelf/upower.sh"
	else
		printf '%-22s skipped: it wants the Debian package upower\n' upower
	fi
fi
if wants bluetoothctl-newer; then
	if newer=$(sh scripts/newer-bluez.sh 2>"$WORK/out/newer"); then
		row bluetoothctl-newer "$("$newer" --version | tail -1)" "PATH=$(dirname "$newer"):\$PATH $here/bluetoothctl.sh"
	else
		printf '%-22s skipped: %s\n' bluetoothctl-newer "$(tail -1 "$WORK/out/newer")"
	fi
fi
exit $failed
