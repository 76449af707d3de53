#!/bin/busybox sh
# The guest's first process: makes a machine of it, runs /script, says how that ended, and switches it off.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root

end() { echo "guest: $*"; sync; reboot -f; }

# The first root file system has no mount above it, and pivot_root(2) refuses to work there: stand on a mount of it.
mkdir -p /root /proc /sys /dev /run /tmp /mnt
mount --bind / /mnt && cd /mnt && mount --move . / || end "no root"
exec chroot . /bin/sh /init.machine
