# The container stage of test-install.sh, which sources this file: docs/container with podman, and the same by hand with
# chroots that share only the folder of the socket. test-install.sh sets the variables that are not set here.
# shellcheck shell=sh disable=SC2154

# simulated starts a simulated proxy on a free port of this host, and sets $port to that port.
simulated() {
	background sim "$program" simulate --proxy kitchen=127.0.0.1:0
	until_ok grep -q 'listens on' "$work/sim.log" || { cat "$work/sim.log" >&2; exit 1; }
	port=$(sed -n 's/.*listens on .*:\([0-9]*\)$/\1/p' "$work/sim.log")
	configuration="proxies: [{name: kitchen, address: \"127.0.0.1:$port\"}]"
}

# in_client UID COMMAND… runs a command in a root of its own, without network, with the folder of the socket.
in_client() {
	user=$1
	shift
	# shellcheck disable=SC2016
	unshare --mount --net --pid --ipc --uts --fork sh -euc '
		mount --bind "$1" "$2/run/bluez-esphome"
		mount -o remount,ro,bind "$2/run/bluez-esphome"
		root=$2 user=$3
		shift 3
		exec env -i PATH=/usr/sbin:/usr/bin:/bin DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bluez-esphome/bus chroot --userspec="$user" "$root" "$@"
	' sh "$work/shared" "$client" "$user" "$@"
}
hears() { in_client 0:0 bluetoothctl --timeout 8 scan le | grep -q 'Pulse HR-1'; }
shows() { in_client "$1" bluetoothctl show | grep -q 'ESPHome proxies'; }

# stage_container_chroot runs the daemon and a program in a root each.
stage_container_chroot() {
	say "## In a container, by hand: daemon and program each in a root of its own"
	fresh base ""
	client=$work/client
	mv "$root" "$client"
	root=$client
	ok "prepare: apt install bluez" apt install bluez
	mkdir "$client/run/bluez-esphome"
	root_with daemon
	ok "apt install" apt install /root/bluez-esphome_1.0.0_amd64.deb
	simulated
	echo "$configuration" >"$root/etc/bluez-esphome/bluez-esphome.yaml"
	install -d -m 750 "$work/shared" "$root/run/bluez-esphome"
	in_root chown bluez-esphome:bluez-esphome /run/bluez-esphome
	chown "$(in_root id -u bluez-esphome):$(in_root id -g bluez-esphome)" "$work/shared"
	group=$(in_root id -g bluez-esphome)
	mount --bind "$work/shared" "$root/run/bluez-esphome"
	mounted="$mounted $root/run/bluez-esphome"
	background daemon env -i PATH=/usr/sbin:/usr/bin:/bin RUNTIME_DIRECTORY=/run/bluez-esphome STATE_DIRECTORY=/var/lib/bluez-esphome \
		chroot --userspec=bluez-esphome:bluez-esphome "$root" bluez-esphome run --bus private
	ok "the daemon runs" until_ok "$program" status --bus "unix:path=$work/shared/bus"
	ok "of ours the program has the socket alone" is "$(in_client 0:0 ls /run/bluez-esphome)" bus
	ok "and no other bus" not in_client 0:0 ls /run/dbus/system_bus_socket
	ok "bluetoothctl, as root, finds a device" until_ok hears
	ok "as the daemon's own user" shows "$(in_root id -u bluez-esphome):$group"
	ok "as another user that the daemon's passwd has, with the group" shows "33:$group"
	ok "as another user without the group: refused" not shows 33:33
	ok "as a user that the daemon's passwd has not: refused" not shows "4321:$group"
	say
}

# pod COMMAND… runs podman with its files in $cache. crun needs cgroups of one version: a mount namespace hides the
# others.
pod() {
	env CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf" \
		nsenter --mount="/proc/$keeper/ns/mnt" --wdns="$work/repo/docs/container" "$@"
}
compose() { pod "$cache/venv/bin/podman-compose" -p test-install "$@"; }

client_finds() { compose run --rm -T client | grep -q "Pulse HR-1"; }

# stage_container runs the unchanged files of docs/container.
stage_container() {
	stage_container_chroot
	if ! command -v podman >/dev/null 2>&1; then
		say "skip  podman: it is not installed"
		return
	fi
	say "## In containers: docs/container/compose.yaml with $(podman --version | sed 's/ version//')"
	if [ ! -x "$cache/venv/bin/podman-compose" ]; then
		python3 -m venv "$cache/venv"
		"$cache/venv/bin/pip" install -q --disable-pip-version-check -r tests/install/requirements.txt
	fi
	unshare --mount --propagation private sleep 1800 &
	keeper=$!
	started="$started $keeper"
	printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\nnetns = "host"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
		>"$work/containers.conf"
	printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$work/store" "$work/podman" >"$work/storage.conf"
	mkdir -p "$work/repo/docs" "$work/repo/bin"
	cp -r docs/container "$work/repo/docs/"
	[ -n "${port:-}" ] || simulated
	cp "$program" "$work/repo/bin/"
	mkdir "$work/repo/docs/container/config"
	echo "$configuration" >"$work/repo/docs/container/config/bluez-esphome.yaml"
	nsenter --mount="/proc/$keeper/ns/mnt" umount /sys/fs/cgroup/unified 2>/dev/null || true
	fresh base ""
	tar -C "$root" -c . | pod podman import - docker.io/library/debian:12-slim >/dev/null 2>&1
	rm -rf "$root"
	ok "compose build" compose build
	ok "compose up -d bluez-esphome" compose up -d bluez-esphome
	daemon=test-install_bluez-esphome_1
	ok "it is healthy" until_ok pod podman healthcheck run $daemon
	ok "there is no shell in it" not pod podman exec $daemon /bin/sh -c true
	ok "compose run client: bluetoothctl finds a device" until_ok client_finds
	ok "as another user" compose run --rm -T --user 1234 client bluetoothctl show
	ok "of ours it has the socket alone" is "$(compose run --rm -T client ls /run/bluez-esphome)" bus
	ok "its only network is loopback" is "$(compose run --rm -T client ls /sys/class/net)" lo
	address=$(compose run --rm -T client bluetoothctl list)
	ok "kill -KILL" pod podman kill -s KILL $daemon
	ok "compose up -d" compose up -d bluez-esphome
	ok "it is healthy" until_ok pod podman healthcheck run $daemon
	ok "the client finds the same adapter" is "$(compose run --rm -T client bluetoothctl list)" "$address"
	ok "exec: check" pod podman exec $daemon /usr/bin/bluez-esphome check
	ok "compose kill -s HUP" compose kill -s HUP bluez-esphome
	ok "compose down" compose down
	ok "compose down -v" compose down -v
	say
}
