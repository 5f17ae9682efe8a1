#!/bin/sh
# Proves the first sentence of README: on a fresh Debian 12 with nothing but git and make, `make run` serves and
# `make test` passes. Makes a minimal Debian with debootstrap in a directory, clones this checkout's HEAD into it, and runs
# both inside, in mount and pid namespaces of their own so that nothing is left behind.
#   tools/fresh-machine.sh [run|test|all]      (root; KEEP=1 keeps the directory)
#   tools/fresh-machine.sh matrix              Debian testing instead: the interpreters that only it has, see `newer`
# Mirror, proxy, certificates and pip settings are this machine's, copied at run time.
set -eu

what=${1:-all}
repo=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/barkeep-fresh
suite=bookworm
[ "$what" != matrix ] || suite=testing
root=$cache/machine-$suite
newer="3.14 3.15"
failed=""

if [ "${INSIDE_NAMESPACES:-}" != yes ]; then
    [ "$(id -u)" = 0 ] || { echo "fresh-machine: needs root" >&2; exit 2; }
    command -v debootstrap >/dev/null || RUNLEVEL=1 apt-get install -q -y --no-install-recommends debootstrap
    INSIDE_NAMESPACES=yes exec unshare --mount --pid --fork --mount-proc --kill-child --propagation private "$0" "$what"
fi

mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list.d/debian.sources \
    /etc/apt/sources.list 2>/dev/null | head -n 1)
mkdir -p "$cache"
if [ ! -e "$cache/base-$suite.tar" ]; then
    echo "== debootstrap"
    rm -rf "$root"
    debootstrap --variant=minbase --include=git,make,ca-certificates "$suite" "$root" $mirror >"$cache/debootstrap.log" 2>&1 \
        || { tail -n 20 "$cache/debootstrap.log"; exit 1; }
    tar -C "$root" -cf "$cache/base-$suite.tar" .
fi
rm -rf "$root"
mkdir -p "$root"
tar -C "$root" -xf "$cache/base-$suite.tar"

# How this machine reaches its registries.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
if [ "$suite" = bookworm ] && [ -e /etc/apt/sources.list.d/debian.sources ]; then
    cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
    : >"$root/etc/apt/sources.list"
fi
for file in /etc/apt/apt.conf.d/*proxy* /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || { mkdir -p "$root$(dirname "$file")"; cp -L "$file" "$root$file"; }
done
[ ! -d "${PIP_FIND_LINKS:-}" ] || { mkdir -p "$root$PIP_FIND_LINKS"; cp -r "$PIP_FIND_LINKS/." "$root$PIP_FIND_LINKS/"; }
passed=$(env | grep -E '^(PIP_|SSL_CERT|REQUESTS_CA|CURL_CA|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)' || true)

mount --bind "$root" "$root"  # a mount point, or nothing inside could make a mount namespace of its own
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/source"
mount --bind -o ro "$repo" "$root/source"

inside() {
    # shellcheck disable=SC2086
    env -i $passed HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        chroot "$root" /bin/sh -c "$1" </dev/null
}

answers() {
    inside 'exec 2>/dev/null; test -x /barkeep/.venv/bin/python && /barkeep/.venv/bin/python -c "
import urllib.request
page = urllib.request.urlopen(\"http://127.0.0.1:8000/\", timeout=5).read().decode()
assert \"Barkeep serves this page\" in page"'
}

echo "== clone"
inside 'git -c safe.directory="*" clone -q file:///source /barkeep && cd /barkeep && git log --oneline -1'

if [ "$what" = matrix ]; then
    for version in $newer; do
        echo "== python $version"
        # A mirror's copy of testing may be some days old; signatures are checked all the same.
        inside "apt-get update -q -o Acquire::Check-Valid-Until=false && apt-get install -q -y --no-install-recommends gcc libc6-dev zlib1g-dev libssl-dev python$version-venv python$version-dev" \
            >"$cache/apt.log" 2>&1 || { echo "python $version cannot be had"; continue; }
        inside "cd /barkeep && CI=true python$version tools/check.py interpreter" || failed="$failed $version"
    done
    [ -z "$failed" ] || { echo "fresh machine: failed on$failed" >&2; exit 1; }
fi
if [ "$what" = run ] || [ "$what" = all ]; then
    echo "== make run"
    started=$(date +%s)
    inside 'cd /barkeep && exec make run' >"$cache/run.log" 2>&1 &
    runner=$!
    until answers; do
        kill -0 "$runner" 2>/dev/null || { cat "$cache/run.log"; echo "make run ended early" >&2; exit 1; }
        [ $(($(date +%s) - started)) -lt 600 ] || { cat "$cache/run.log"; echo "no answer in ten minutes" >&2; exit 1; }
        sleep 1
    done
    echo "serving after $(($(date +%s) - started)) s:"
    grep -A1 'serving' "$cache/run.log" || tail -n 3 "$cache/run.log"
    for entry in /proc/[0-9]*; do  # this pid namespace holds only what was started here
        case $(tr '\0' ' ' <"$entry/cmdline" 2>/dev/null) in
            "barkeep: master"*) kill -TERM "${entry#/proc/}" ;;
        esac
    done
    wait "$runner" || true
fi
if [ "$what" = test ] || [ "$what" = all ]; then
    echo "== make test"
    inside 'cd /barkeep && CI=true make test'
fi
[ -n "${KEEP:-}" ] || { umount -R "$root"; rm -rf --one-file-system "$root"; }
echo "fresh machine: passed"
