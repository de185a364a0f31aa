# Functions that the other scripts share; sourced, not run.
# shellcheck shell=sh
GO=${GO:-go}

# need_go ends the script unless there is a Go that can build the module.
need_go() {
	if ! command -v "$GO" >/dev/null 2>&1; then
		echo "bluez-esphome: no Go found; install Go 1.26 or later (README.md says where from)" >&2
		exit 1
	fi
}

# missing prints the Debian packages that are not there, all in one line.
missing() {
	list=
	command -v dbus-daemon >/dev/null 2>&1 || list="$list dbus-daemon"
	command -v bluetoothctl >/dev/null 2>&1 || list="$list bluez"
	command -v busctl >/dev/null 2>&1 || list="$list systemd"
	command -v gdbus >/dev/null 2>&1 || list="$list libglib2.0-bin"
	command -v python3 >/dev/null 2>&1 || list="$list python3"
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || list="$list python3-venv"
	# The race detector needs a C compiler.
	command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || list="$list gcc libc6-dev"
	echo "$list"
}

# need installs what the tests need, or says what is missing.
need() {
	list=$(missing)
	if [ -n "$list" ]; then
		if [ "$(id -u)" -ne 0 ]; then
			echo "bluez-esphome: missing Debian packages:$list (apt-get install them as root, or run this as root)" >&2
			exit 1
		fi
		echo "== installing$list"
		log=$(mktemp)
		# The word splitting is meant. An old package list is tried first: it is usually good enough.
		# shellcheck disable=SC2086
		if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list >"$log" 2>&1; then
			apt-get update -q >"$log" 2>&1 || true
			# shellcheck disable=SC2086
			DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list >>"$log" 2>&1 ||
				{ cat "$log" >&2; exit 1; }
		fi
		rm -f "$log"
	fi
	venv
	node_client
}

# node_client installs node-ble into tests/clients/node/node_modules, unless it is there already. Without npm
# the client matrix says that it skips it.
node_client() {
	dir=tests/clients/node
	if ! command -v npm >/dev/null 2>&1 || cmp -s $dir/package-lock.json $dir/node_modules/installed; then
		return
	fi
	echo "== installing the Node client of $dir"
	# Its optional dependency, native code, is not needed.
	npm ci --prefix $dir --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error
	cp $dir/package-lock.json $dir/node_modules/installed
}

# venv makes .venv with the Python clients, unless it is there already.
venv() {
	want=$(cat tests/requirements.txt; python3 --version)
	if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$want" ]; then
		return
	fi
	echo "== installing the Python clients of tests/requirements.txt into .venv"
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
	printf '%s\n' "$want" >.venv/installed
}
