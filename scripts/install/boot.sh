# The stages boot and controller of test-install.sh, which sources this file: a whole Debian in qemu.
# test-install.sh sets the variables that are not set here.
# shellcheck shell=sh disable=SC2154
ACCEL=${ACCEL:-tcg}

# kernel MODULES… puts Debian's kernel beside $root, and the modules that are needed into it. It sets $linux to the
# kernel and $modules to the folder of the modules.
kernel() {
	name=$(in_root apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
	if [ ! -e "$cache/$name/.complete" ]; then
		rm -rf "${cache:?}/$name" "$root/tmp/download"
		mkdir -p "$root/tmp/download"
		in_root sh -c "cd /tmp/download && apt-get -q -o APT::Sandbox::User=root download $name busybox-static" >"$work/out" 2>&1 ||
			{ cat "$work/out" >&2; exit 1; }
		for deb in "$root"/tmp/download/*.deb; do dpkg-deb -x "$deb" "$cache/$name"; done
		rm -rf "$root/tmp/download"
		: >"$cache/$name/.complete"
	fi
	release=${name#linux-image-}
	linux=$cache/$name/boot/vmlinuz-$release
	modules=lib/modules/$release
	for part in drivers/virtio drivers/block/virtio_blk.ko drivers/bluetooth/hci_vhci.ko net/bluetooth net/rfkill fs/ext4 fs/jbd2 \
		fs/mbcache.ko lib crypto arch/x86/crypto; do
		mkdir -p "$root/$modules/kernel/${part%/*}"
		cp -a "$cache/$name/$modules/kernel/$part" "$root/$modules/kernel/${part%/*}/"
	done
	cp -a "$cache/$name/$modules"/modules.order "$cache/$name/$modules"/modules.builtin* "$root/$modules/"
	in_root depmod "$release"
}

# initrd FILE makes an initrd, which loads the modules that the disk needs and changes over to the disk.
initrd() {
	mkdir -p "$work/initrd/bin" "$work/initrd/dev" "$work/initrd/proc" "$work/initrd/new"
	cp "$cache/$name/bin/busybox" "$work/initrd/bin/busybox"
	{
		echo '#!/bin/busybox sh'
		echo '/bin/busybox mount -t devtmpfs dev /dev'
		for module in virtio_pci virtio_blk crc32c_generic ext4; do
			in_root modprobe -S "$release" --show-depends $module | while read -r _ path _; do
				case $path in
				/*)
					cp "$root$path" "$work/initrd/${path##*/}"
					echo "/bin/busybox insmod /${path##*/}"
					;;
				esac
			done
		done
		# A module that several others need is tried several times.
		echo '/bin/busybox mount -t ext4 /dev/vda /new || exec /bin/busybox sh'
		echo '/bin/busybox mount --move /dev /new/dev'
		echo 'exec /bin/busybox switch_root /new /sbin/init'
	} >"$work/initrd/init"
	chmod 755 "$work/initrd/init"
	(cd "$work/initrd" && find . | cpio -o -H newc --quiet) >"$1"
}

stage_boot() { machine boot "## Booted in qemu, without a controller"; }
stage_controller() { machine controller "## Booted in qemu, with a controller"; }

# machine STAGE TITLE boots the machine, in which inside.sh runs.
machine() {
	for tool in qemu-system-x86_64 mkfs.ext4 cpio; do
		command -v $tool >/dev/null 2>&1 || { say "skip  $1: $tool is missing"; return; }
	done
	say "$2"
	rm -rf --one-file-system "$work/machine" "$work/initrd"
	fresh machine systemd,systemd-sysv,dbus,udev,kmod,bluez
	kernel
	initrd "$work/initrd.img"
	cp "$work"/*.deb "$root/root/"
	install -m 755 scripts/install/inside.sh scripts/install/inside-controller.sh "$root/root/"
	cat >"$root/etc/systemd/system/inside.service" <<-END
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		ExecStart=/root/inside.sh $1
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/ttyS1
		[Install]
		WantedBy=default.target
	END
	in_root systemctl enable inside.service >/dev/null 2>&1
	in_root systemctl set-default multi-user.target >/dev/null 2>&1
	in_root systemctl mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer >/dev/null 2>&1
	echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/quick"
	echo "/dev/vda / ext4 defaults 0 0" >"$root/etc/fstab"
	mkfs.ext4 -q -d "$root" "$work/disk" 1500M
	start=$(date +%s)
	# A machine without any network; it reboots once, and powers itself off.
	timeout 2400 qemu-system-x86_64 -accel "$ACCEL" -m 768 -smp 1 -display none -nic none -kernel "$linux" -initrd "$work/initrd.img" \
		-append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=false mitigations=off audit=0" \
		-drive file="$work/disk",format=raw,if=virtio,cache=unsafe \
		-serial file:"$cache/$1-console.log" -serial file:"$work/$1.out" || true
	tr -d '\r' <"$work/$1.out" | tee -a "$report"
	if ! grep -q '^all passed' "$work/$1.out" || grep -q '^FAIL' "$work/$1.out"; then
		say "FAIL  $1; the console is in $cache/$1-console.log"
		exit 1
	fi
	echo "the machine ran for $(($(date +%s) - start)) s"
}
