#!/bin/sh
# build.sh SUITE DIR: makes DIR/SUITE/vmlinuz and DIR/SUITE/initrd.img, a machine with Linux, BlueZ, Python and bleak of
# that Debian, out of Debian packages; it compiles nothing. SUITE is bookworm (Linux 6.1, BlueZ 5.66), trixie (6.12,
# 5.82) or forky (the BlueZ and the Linux of the recordings; the latter is trixie's). It needs apt, dpkg-deb, depmod,
# cpio and xz.
set -eu
suite=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
top=$(cd "$2" && pwd)
dir=$top/$suite
# shellcheck disable=SC2016
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
packages='busybox-static dbus-daemon dbus-bin bluez bluez-test-tools kmod python3-minimal python3-bleak crun'
unneeded='systemd|udev|debconf|mount|passwd|adduser|login|perl-base|tar|gcc-.*|mawk|base-.*|init-system-helpers|libdb5.*|openssl-provider.*|tzdata|libjs-.*|usrmerge|dpkg'

# apt gets its own view of the suite, in which nothing is installed: it then lists all packages that an empty system
# needs.
mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial" "$dir/apt/none" "$dir/debs"
cat >"$dir/apt/conf" <<END
Dir::Etc::sourcelist "$dir/apt/sources.list";
Dir::Etc::sourceparts "$dir/apt/none";
Dir::Etc::preferences "$dir/apt/no-file";
Dir::Etc::preferencesparts "$dir/apt/none";
Dir::State "$dir/apt";
Dir::State::status "$dir/apt/status";
Dir::Cache "$dir/apt";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
Acquire::Languages "none";
END
: >"$dir/apt/status"
apt_of() { APT_CONFIG=$dir/apt/conf "$@"; }

if [ ! -e "$dir/debs/.complete" ]; then
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/apt/sources.list"
	apt_of apt-get -q update
	linux=
	[ "$suite" = forky ] || linux=$(apt_of apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	# The variable is a list of words.
	# shellcheck disable=SC2086
	wanted="$linux $(apt_of apt-get install -s $packages | sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -Evx "$unneeded")"
	# shellcheck disable=SC2086
	(cd "$dir/debs" && rm -f -- *.deb && apt_of apt-get -q download $wanted)
	: >"$dir/debs/.complete"
fi
rm -rf --one-file-system "$dir/root" "$dir/linux"
mkdir -p "$dir/root" "$dir/linux"
for deb in "$dir"/debs/*.deb; do
	case ${deb##*/} in
	linux-image*) dpkg-deb -x "$deb" "$dir/linux" ;;
	*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/root" --keep-directory-symlink ;;
	esac
done

root=$dir/root
linux=$dir/linux
[ "$suite" != forky ] || linux=$top/trixie/linux
release=$(basename "$linux"/boot/vmlinuz-*)
release=${release#vmlinuz-}
tree=$linux/lib/modules/$release
[ -d "$tree" ] || tree=$linux/usr/lib/modules/$release
find "$root/usr/share" -mindepth 1 -maxdepth 1 ! -name dbus-1 ! -name terminfo -exec rm -rf {} +
rm -rf "$root"/usr/lib/systemd "$root"/lib/systemd "$root"/var/cache "$root"/usr/lib/*/gconv "$root"/usr/lib/*/perl* "$root"/usr/lib/python3*/test \
	"$root"/usr/lib/python3*/lib2to3 "$root"/usr/lib/python3*/idlelib "$root"/usr/lib/python3*/ensurepip
# Debian 13's packages expect a merged /usr, Debian 12's a separate one: merge.
for part in bin sbin lib lib64; do
	mkdir -p "$root/usr/$part"
	[ ! -d "$root/$part" ] || [ -h "$root/$part" ] || { cp -a "$root/$part/." "$root/usr/$part/" && rm -rf "${root:?}/$part"; }
	[ -h "$root/$part" ] || ln -s usr/$part "$root/$part"
done
# Only the modules that the machine needs, uncompressed: busybox cannot uncompress them.
mkdir -p "$root/usr/lib/modules/$release"
cp "$tree"/modules.order "$tree"/modules.builtin* "$root/usr/lib/modules/$release/"
for part in drivers/virtio drivers/char/hw_random drivers/bluetooth drivers/hid/uhid drivers/hid/hid drivers/base/regmap net/bluetooth \
	net/rfkill net/9p fs/9p fs/netfs fs/fscache fs/smb lib crypto arch/x86/crypto drivers/firmware/qcom net/6lowpan; do
	for found in "$tree/kernel/$part" "$tree/kernel/$part".ko*; do
		[ -e "$found" ] || continue
		mkdir -p "$root/usr/lib/modules/$release/kernel/${part%/*}"
		cp -a "$found" "$root/usr/lib/modules/$release/kernel/${part%/*}/"
	done
done
find "$root/usr/lib/modules/$release" -name '*.ko.xz' -exec xz -d {} +
find "$root/usr/lib/modules/$release/kernel/drivers/bluetooth" -name '*usb*' -delete
depmod -b "$root" "$release"
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/run/dbus" "$root/tmp" "$root/host" "$root/etc" "$root/var/lib/bluetooth" "$root/root"
install -m 755 "$here/init" "$root/init"
printf 'root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\nbluez-esphome:x:990:990::/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nmessagebus:x:100:\nbluetooth:x:101:\nbluez-esphome:x:990:\n' >"$root/etc/group"
echo 00000000000000000000000000000001 >"$root/etc/machine-id"
cp "$linux/boot/vmlinuz-$release" "$dir/vmlinuz"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$dir/initrd.img"
echo "$dir: Linux $release, $(du -h "$dir/initrd.img" | cut -f1) initrd"
