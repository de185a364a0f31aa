#!/bin/sh
# test-machines.sh [MACHINE…]: runs "make run" and "make test" as a new user does on a fresh machine: Debian 12 and 13,
# and Ubuntu 24.04 where its keyring is installed; with and without apt's lists, as root and as a user, in one's own
# checkout and in another user's, with this Go, with that of the distribution and without any. It needs root and mmdebstrap. Each case begins with an unchanged root
# (an overlay), in namespaces of its own as in a container. It writes docs/evidence/machines.md. ROOTS is the folder for
# the roots (dist/test-machines). FULL says where it runs all of make test, which takes 10 minutes: first (on the first
# machine, the default), all or none.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
[ "$(id -u)" -eq 0 ] || stop "make test-machines needs root, to make roots; paste: sudo make test-machines"
command -v mmdebstrap >/dev/null 2>&1 || install_packages mmdebstrap
page=docs/evidence/machines.md
[ $# -gt 0 ] || set -- debian-12 debian-13 ubuntu-24.04

roots=${ROOTS:-dist/test-machines}
mkdir -p "$roots"
roots=$(cd "$roots" && pwd)
work=$(mktemp -d)
table=$(mktemp)
case_root=$work/case
annas="/home/anna/my projects/bluez-esphome"
failed=
# end unmounts all that a case has mounted.
end() {
	for m in usr/local/go gomod gocache dev proc ""; do
		if mountpoint -q "$case_root/$m" 2>/dev/null; then umount -l "$case_root/$m"; fi
	done
	rm -rf --one-file-system "$work/upper" "$work/work"
}
trap 'end; rm -rf --one-file-system "$work" "$table"' EXIT
trap 'exit 1' INT TERM

# make_root MACHINE: makes a root with the packages that a user needs to clone the repository.
make_root() {
	[ ! -e "$roots/$1/usr/bin/git" ] || return 0
	case $1 in
	debian-12) set -- "$1" bookworm "${MIRROR:-http://deb.debian.org/debian}" ;;
	debian-13) set -- "$1" trixie "${MIRROR:-http://deb.debian.org/debian}" ;;
	ubuntu-24.04)
		if [ ! -e /usr/share/keyrings/ubuntu-archive-keyring.gpg ]; then
			echo "$1: not had: /usr/share/keyrings/ubuntu-archive-keyring.gpg is not installed (package ubuntu-keyring)"
			return 1
		fi
		set -- "$1" noble "${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}"
		;;
	*) stop "no machine $1; there are debian-12, debian-13 and ubuntu-24.04" ;;
	esac
	echo "== making the root $1"
	rm -rf --one-file-system "${roots:?}/$1"
	mmdebstrap --quiet --variant=minbase --include=git,make,ca-certificates "$2" "$roots/$1" "$3" ||
		{ echo "$1: not had: mmdebstrap failed"; return 1; }
}

# fresh MACHINE LISTS GO: makes a new copy of the root, with the repository in /src and anna's in a folder of hers whose
# name has a space.
fresh() {
	end
	mkdir -p "$work/upper" "$work/work" "$case_root"
	mount -t overlay overlay -o "lowerdir=$roots/$1,upperdir=$work/upper,workdir=$work/work" "$case_root"
	mount -t proc proc "$case_root/proc" # for apt; each command gets that of its own namespace
	echo "127.0.0.1 localhost" >"$case_root/etc/hosts" # as an installer or a container's runtime does
	mount --rbind /dev "$case_root/dev"
	mount --make-rslave "$case_root/dev"
	cp -L /etc/resolv.conf "$case_root/etc/resolv.conf"
	cp -L /etc/ssl/certs/ca-certificates.crt "$case_root/etc/ssl/certs/ca-certificates.crt"
	if [ "$2" = empty ]; then rm -rf "$case_root"/var/lib/apt/lists/*; else inside root / apt-get update -q >/dev/null; fi
	case $3 in
	ours)
		mkdir -p "$case_root/usr/local/go"
		mount --bind "$("$GO" env GOROOT)" "$case_root/usr/local/go"
		;;
	distribution) inside root / sh -c 'apt-get update -q && apt-get install -y -q --no-install-recommends golang-go' >"$work/go.log" 2>&1 || { cat "$work/go.log"; return 1; } ;;
	esac
	# Go's modules and compiled packages are shared, so that not every case downloads and compiles them again.
	mkdir -p "$case_root/gomod" "$case_root/gocache" "$roots/gocache"
	mount --bind "$("$GO" env GOMODCACHE)/cache/download" "$case_root/gomod"
	mount --bind "$roots/gocache" "$case_root/gocache"
	inside root / useradd -m anna
	for folder in /src "$annas"; do git clone -q "$PWD" "$case_root$folder"; done
	inside root / chown -R anna /home/anna
}

# inside USER FOLDER COMMAND…: runs a command in the root, as a container would.
inside() {
	user=$1
	folder=$2
	shift 2
	home=/root
	[ "$user" = root ] || home=/home/$user
	for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy PIP_INDEX_URL; do
		if value=$(printenv $name); then set -- "$name=$value" "$@"; fi
	done
	# shellcheck disable=SC2016
	unshare --mount --pid --ipc --uts --fork --kill-child sh -c 'mount -t proc proc "$1/proc" && shift && exec "$@"' sh "$case_root" \
		env -i "$(command -v chroot)" "--userspec=$user" "$case_root" \
		env -C "$folder" "HOME=$home" "USER=$user" GOPROXY=file:///gomod,https://proxy.golang.org GOSUMDB=off \
		GOCACHE=/gocache PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# demo USER FOLDER: runs make run until it prints its bus, and then stops it. It must end with status 0.
demo() {
	log=$work/demo.log
	inside "$1" "$2" make run >"$log" 2>&1 &
	job=$!
	for _ in $(seq 900); do
		if grep -q "export DBUS_SYSTEM_BUS_ADDRESS=" "$log"; then
			for p in /proc/[0-9]*; do
				if [ "$(readlink "$p/root")" = "$case_root" ] && [ "$(cat "$p/comm")" = bluez-esphome ]; then kill -TERM "${p#/proc/}"; fi
			done
			break
		fi
		kill -0 $job 2>/dev/null || break
		sleep 1
	done 2>/dev/null
	status=0
	wait $job || status=$?
	cat "$log"
	return $status
}

# row MACHINE LISTS USER GO COMMAND WANT: adds a row. WANT is "works", or a pattern: the command must then print one
# line, which matches it.
row() {
	chmod -R a+rwX "$roots/gocache" # another user may have written it for the last row
	begun=$(date +%s)
	status=0
	case $3 in
	root) user=root folder=/src ;;
	"root in anna's folder") user=root folder=$annas ;;
	anna*) user=anna folder=$annas ;;
	esac
	if [ "$5" = "make run" ]; then
		demo "$user" "$folder" >"$work/out" 2>&1 || status=$?
	else
		# shellcheck disable=SC2086
		inside "$user" "$folder" $5 >"$work/out" 2>&1 || status=$?
	fi
	took=$(($(date +%s) - begun))
	says=$(grep -a '^bluez-esphome: ' "$work/out" | head -n 1)
	result=works
	[ $status -eq 0 ] || result=${says:-"fails: $(tail -n 1 "$work/out")"}
	case $6 in
	works) verdict=$result ;;
	*) verdict=$(if [ $status -ne 0 ] && echo "$says" | grep -q -- "$6"; then echo "says"; else echo "unexpected"; fi) ;;
	esac
	if [ "$verdict" != works ] && [ "$verdict" != says ]; then
		failed="$failed
  $1, $2 lists, $3, Go $4: $5"
		tail -n 30 "$work/out" >&2
	fi
	summary=$(grep -a '^[0-9]* passed, [0-9]* failed, [0-9]* skipped$' "$work/out" || true)
	# shellcheck disable=SC2016
	text=$(printf '%s' "$result${summary:+: $summary}" | sed 's/|/\\|/g; s/^bluez-esphome: \(.*\)$/says: `\1`/')
	printf '| %s | %s | %s | %s | %s | %s | %d s |\n' "$1" "$2" "$3" "$4" "$5" "$text" "$took" | tee -a "$table"
}

missing=
first=yes
for machine in "$@"; do
	if ! why=$(make_root "$machine"); then
		echo "$why"
		missing="$missing
* ${why##*
}"
		continue
	fi
	[ -z "$why" ] || echo "$why"
	fresh "$machine" empty ours
	row "$machine" empty root ours "make run" works
	if [ "${FULL:-first}${first:+!}" = first! ] || [ "${FULL:-}" = all ]; then row "$machine" empty root ours "make test" works
	else row "$machine" empty root ours "make test RUNFLAGS=-parts=vectors" works; fi
	first=
	fresh "$machine" empty ours
	row "$machine" empty anna ours "make run" 'paste: sudo apt-get update && sudo apt-get install -y dbus-daemon$'
	row "$machine" empty anna ours "make test" 'paste: sudo apt-get update && sudo apt-get install -y .*gcc libc6-dev$'
	fresh "$machine" fresh ours
	row "$machine" fresh anna ours "make run" 'paste: sudo apt-get install -y dbus-daemon$'
	# The command that the message names is run.
	inside root / apt-get install -y -q dbus-daemon >/dev/null 2>&1
	row "$machine" "fresh, line pasted" anna ours "make run" works
	row "$machine" fresh root ours "make run" works
	row "$machine" fresh "root in anna's folder" ours "make run" works
	row "$machine" fresh "anna, after that" ours "make run" 'paste: sudo chown -R .*id -u.* bin$'
	fresh "$machine" fresh none
	row "$machine" fresh root none "make run" 'there is no Go: .*or later from https://go.dev/dl/; paste: .*curl -L'
	row "$machine" fresh anna none "make test" 'there is no Go: .*| sudo tar'
	fresh "$machine" fresh distribution
	own=$(inside root / sh -c 'go version' | awk '{ print substr($3, 3) }')
	# From 1.21 on Go fetches the right one, unless the distribution has told it not to.
	if inside root /src go version >/dev/null 2>&1 && at_least "$own" 1.21; then
		row "$machine" fresh root "its own, $own" "make run" works
	else
		row "$machine" fresh root "its own, $own" "make run" "Go $own is too old: .*or later from https://go.dev/dl/"
	fi
done

{
	cat <<END
# Fresh machines

Written by \`make test-machines\` at $(git rev-parse --short=9 HEAD), $(date -u +%Y-%m-%d). Each machine is a root made by mmdebstrap (minbase) with git, make and
ca-certificates. Each row begins with it as it was made, in mount, process and IPC namespaces of its own, as in a container; rows
without a change of user, lists or Go follow one another in it. Go's modules and build cache are shared by all, so that times are
those of a second build.

| machine | apt's lists | user | Go | command | result | time |
| --- | --- | --- | --- | --- | --- | ---: |
END
	cat "$table"
	[ -z "$missing" ] || printf '\nNot tried:\n%s\n' "$missing"
} >"$page"
if [ -n "$failed" ]; then
	echo "not as expected:$failed" >&2
	exit 1
fi
echo "wrote $page"
