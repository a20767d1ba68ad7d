#!/bin/sh
# Make a base image for deploy/Dockerfile from Debian's packages, for machines that reach no image registry.
#
#   deploy/base-image.sh          make it unless it is there, and print its name
#   deploy/base-image.sh --name   print its name only
#
# Needs root, debootstrap and a running engine. TANPO_DEBIAN_MIRROR names a mirror other than debootstrap's own.
# The name carries a digest of this script: one that was made by the same script is not made again.
set -eu

SUITE=bookworm
# python3-venv for the builder; a node needs no more than the interpreter and the certificates of pip's index.
PACKAGES=python3-minimal,python3-venv,ca-certificates
# Nobody reads these in an image, and they are more than half of it.
UNREAD="/usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bug
    /var/cache/apt /var/lib/apt/lists /var/log"

fail() {
    echo "base-image.sh: $1" >&2
    exit 1
}

name="tanpo-base:$SUITE-$(uname -m)-$(sha256sum "$0" | cut -c1-12)"
[ "${1-}" != --name ] || { echo "$name"; exit 0; }
[ $# -eq 0 ] || fail "unknown argument '$1'; allowed: --name"
command -v docker >/dev/null || fail "there is no docker command; on Debian: apt-get install docker.io"
docker version >/dev/null 2>&1 || fail "the container engine does not answer; start it, as root: dockerd"
if docker image inspect "$name" >/dev/null 2>&1; then
    echo "$name"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || fail "debootstrap needs root; run this as root"
command -v debootstrap >/dev/null || fail "there is no debootstrap; on Debian: apt-get install debootstrap"

root=$(mktemp -d)
log="$root.log"
clean_up() {
    # debootstrap leaves these behind when it is interrupted, and nothing may be removed through them.
    for mounted in proc sys; do
        mountpoint -q "$root/$mounted" && umount "$root/$mounted"
    done
    rm -rf --one-file-system "$root" "$log"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

explain() {
    tail -n 5 "$log" >&2
    fail "$1"
}

debootstrap --variant=minbase "--include=$PACKAGES" "$SUITE" "$root" ${TANPO_DEBIAN_MIRROR:+"$TANPO_DEBIAN_MIRROR"} \
    >"$log" 2>&1 || explain "debootstrap failed; is a Debian mirror reached? TANPO_DEBIAN_MIRROR names another"
# What was released since the last point release: the suite's security updates lie beside it on every mirror.
sed -n "s|/debian/\{0,1\} $SUITE |/debian-security $SUITE-security |p" "$root/etc/apt/sources.list" \
    >"$root/etc/apt/sources.list.d/security.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
{ chroot "$root" apt-get update && DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get --yes upgrade; } \
    >"$log" 2>&1 || explain "the security updates cannot be installed; does the mirror have debian-security?"
for unread in $UNREAD; do
    rm -rf "${root:?}$unread"
done
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial" "$root/var/log"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"

tar -C "$root" --numeric-owner --one-file-system -c . | docker import \
    --change "LABEL org.opencontainers.image.title=tanpo-base" --change 'CMD ["python3"]' - "$name" >/dev/null
echo "$name"
