# Functions that the other scripts share; sourced, not run.
# shellcheck shell=sh
GO=${GO:-go}

# A checkout may be another user's, as a container is often given one. git tells nothing of it, and go build fails, unless
# git is told that the folder is trusted; whoever runs this trusts it.
count=${GIT_CONFIG_COUNT:-0}
export "GIT_CONFIG_KEY_$count=safe.directory" "GIT_CONFIG_VALUE_$count=*" "GIT_CONFIG_COUNT=$((count + 1))"

# stop TEXT prints TEXT, which says in one line what is missing and what to do, and ends the script.
stop() {
	echo "bluez-esphome: $1" >&2
	exit 1
}

# need_go ends the script unless there is a Go that can build the module: the version that go.mod names, or a later one.
need_go() {
	wanted=$(sed -n 's/^go \([0-9][0-9.]*\).*/\1/p' go.mod)
	if ! command -v "$GO" >/dev/null 2>&1; then
		stop "there is no Go: $(go_remedy "$wanted")"
	fi
	# Inside the module, Go 1.21 and later fetch the version that go.mod names, if they may; outside, they print their
	# own.
	found=$("$GO" version 2>/dev/null) || found=$(cd / && "$GO" version 2>/dev/null) || found=
	found=$(echo "$found" | sed -n 's/.*go\([0-9][0-9]*\.[0-9][0-9.]*\).*/\1/p')
	if ! at_least "${found:-0.0}" "$wanted"; then
		stop "Go ${found:-of an unknown version} is too old: $(go_remedy "$wanted")"
	fi
}

# need_own ends the script where the user may not write what make run and make test write, as after sudo make.
need_own() {
	[ "$(id -u)" -ne 0 ] || return 0
	[ -w . ] || stop "you may not write in $PWD; clone the repository into a folder of your own"
	others=
	for path in bin dist .venv $node_dirs; do
		case $path in tests/*) path=$path/node_modules ;; esac
		if [ -n "$(find "$path" ! -user "$(id -u)" 2>/dev/null | head -n 1)" ]; then others="$others $path"; fi
	done
	[ -z "$others" ] || stop "some files are another user's, as after sudo make; paste: sudo chown -R \$(id -u)$others"
}

# go_remedy VERSION prints where that version of Go comes from, and the command that installs it.
go_remedy() {
	case $(uname -m) in
	x86_64) machine=amd64 ;;
	aarch64) machine=arm64 ;;
	armv[67]*) machine=armv6l ;;
	*) machine=$(uname -m) ;;
	esac
	# A system that was just installed has neither, as often as not.
	get="curl -L"
	if ! command -v curl >/dev/null 2>&1; then
		if command -v wget >/dev/null 2>&1; then
			get="wget -O-"
		else
			get="$(as_root)apt-get update && $(as_root)apt-get install -y curl && curl -L"
		fi
	fi
	echo "${1%.*} or later from https://go.dev/dl/; paste: $get https://go.dev/dl/go$1.linux-$machine.tar.gz |" \
		"$(as_root)tar -C /usr/local -xz && export PATH=/usr/local/go/bin:\$PATH"
}

# at_least VERSION WANTED succeeds if the first two numbers of VERSION are not lower than those of WANTED.
at_least() {
	have=$(echo "$1" | awk -F. '{ print $1 * 1000 + $2 }')
	[ "$have" -ge "$(echo "$2" | awk -F. '{ print $1 * 1000 + $2 }')" ]
}

# as_root prints "sudo " for a command that only root may run, or nothing if that is us.
as_root() { [ "$(id -u)" -eq 0 ] || echo "sudo "; }

# missing_for demo|test prints, in one line, the Debian packages that are needed and not installed.
missing_for() {
	list=
	command -v dbus-daemon >/dev/null 2>&1 || list="$list dbus-daemon"
	if [ "$1" = test ]; then
		command -v bluetoothctl >/dev/null 2>&1 || list="$list bluez"
		command -v busctl >/dev/null 2>&1 || list="$list systemd"
		command -v gdbus >/dev/null 2>&1 || list="$list libglib2.0-bin"
		command -v python3 >/dev/null 2>&1 || list="$list python3"
		python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || list="$list python3-venv"
		# The race detector needs a C compiler and its headers.
		if ! command -v cc >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1; then list="$list gcc libc6-dev"; fi
	fi
	echo "${list# }"
}

# apt_install PACKAGE… installs Debian packages, and prints apt's output only if it fails.
apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# install_packages PACKAGE… installs Debian packages. Where the user may not do that, it prints the command that does.
# No other function installs anything for the system.
install_packages() {
	[ $# -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		stop "missing, by Debian's names: $*; install them with this system's package manager"
	fi
	update=
	# Container images have no lists of packages.
	if ! apt-cache show "$1" >/dev/null 2>&1; then update=yes; fi
	if [ "$(id -u)" -ne 0 ]; then
		stop "missing Debian packages; paste: ${update:+sudo apt-get update && }sudo apt-get install -y $*"
	fi
	log=$(mktemp)
	if [ -n "$update" ]; then
		echo "== apt-get update: there are no lists of packages yet"
		apt-get update -q >"$log" 2>&1 || true
	fi
	size=$(LC_ALL=C apt-get install --assume-no --no-install-recommends "$@" 2>/dev/null | sed -n 's/^Need to get \([^/]*[kMG]*B\)[ /].*/\1/p')
	echo "== installing Debian packages: $*${size:+ (with what they need $size to download)}"
	# The present list of packages is tried first: it is usually good enough.
	if ! apt_install "$@" >"$log" 2>&1; then
		apt-get update -q >>"$log" 2>&1 || true
		apt_install "$@" >>"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; stop "apt-get cannot install $*"; }
	fi
	rm -f "$log"
}

# need installs all that the tests need, or says what is missing.
need() {
	list=$(missing_for test)
	# The word splitting is meant.
	# shellcheck disable=SC2086
	install_packages $list
	venv
	node_client
}

# announce prints, before anything else, what make test will change on this machine.
announce() {
	list=$(missing_for test)
	echo "== make test: about 6 minutes on two cores, 12 the first time; it keeps to this folder, Go's caches and temporary folders"
	echo "   Debian packages to install: ${list:-none}"
	echo "   Python clients: $(if venv_is_there; then echo "are in .venv"; else echo "into .venv, 25 MB to download, 80 MB on disk"; fi)"
	if command -v npm >/dev/null 2>&1; then
		for dir in $node_dirs; do
			echo "   Node package: $(if node_client_is_there "$dir"; then echo "is there"; else echo "into $dir, $(node_size "$dir") MB"; fi)"
		done
	fi
	echo "   Go modules: 32 MB to download the first time; Go's build cache grows to 1.2 GB"
}

# node-ble, a program on D-Bus; noble, a host of a virtual controller; and the library that drives Chromium.
node_dirs="tests/clients/node tests/controller/node tests/page/node"
node_size() { case $1 in *controller*) echo 15 ;; *page*) echo 18 ;; *) echo 2 ;; esac; }
node_client_is_there() { cmp -s "$1/package-lock.json" "$1/node_modules/installed"; }

# node_client installs each of them into its folder, unless it is there already. Without npm, the tests that use them
# are skipped and say why.
node_client() {
	command -v npm >/dev/null 2>&1 || return 0
	for dir in $node_dirs; do
		if node_client_is_there "$dir"; then
			continue
		fi
		echo "== installing the Node package of $dir"
		# Neither optional dependencies, which are native code, nor install scripts are needed: noble brings its own
		# binaries.
		npm ci --prefix "$dir" --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error
		cp "$dir/package-lock.json" "$dir/node_modules/installed"
	done
}

venv_is_there() {
	[ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$(cat tests/requirements.txt; python3 --version)" ]
}

# venv makes .venv with the Python clients, unless it is there already.
venv() {
	if venv_is_there; then
		return
	fi
	echo "== installing the Python clients of tests/requirements.txt into .venv"
	rm -rf .venv
	python3 -m venv .venv
	log=$(mktemp)
	.venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt >"$log" 2>&1 ||
		{ cat "$log" >&2; rm -f "$log"; stop "pip cannot install the Python clients"; }
	rm -f "$log"
	{ cat tests/requirements.txt; python3 --version; } >.venv/installed
}
