#!/bin/sh
# Build the image of this checkout with the settings by which this machine reaches packages, and print its name.
#
#   deploy/build-image.sh [NAME]      tanpo:VERSION, if no other name is given
#
# BASE_IMAGE chooses the base; without it, the one of deploy/base-image.sh is made, or taken if it is there. Index and
# proxy come from the environment (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST, HTTP_PROXY, HTTPS_PROXY,
# NO_PROXY), the certificates that pip believes from PIP_CERT. None of it is left in the image.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "build-image.sh: $1" >&2
    exit 1
}

[ $# -le 1 ] || fail "too many arguments; allowed: the name of the image"
command -v docker >/dev/null || fail "there is no docker command; on Debian: apt-get install docker.io"
docker version >/dev/null 2>&1 || fail "the container engine does not answer; start it, as root: dockerd"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
name=${1:-tanpo:$version}
base=${BASE_IMAGE:-$(sh deploy/base-image.sh)} ||
    fail "there is no base to build on; where an image registry is reached: BASE_IMAGE=python:3.12-slim deploy/build-image.sh"

# A context of its own: nothing is written into the checkout, and only what the image is made of is sent.
context=$(mktemp -d)
trap 'rm -rf "$context" "$context.log"' EXIT
trap 'exit 130' INT TERM
tar -c --exclude=__pycache__ pyproject.toml requirements-ci.lock README.md LICENSE consensus contracts node proto \
    deploy/Dockerfile deploy/healthcheck.py | tar -x -C "$context"
[ ! -f "${PIP_CERT-}" ] || cp "$PIP_CERT" "$context/deploy/authorities.crt"

set -- --build-arg "BASE_IMAGE=$base" --build-arg "VERSION=$version"
for setting in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    # The value is taken from the environment: on the command line everybody could read it.
    [ -z "$(printenv "$setting")" ] || set -- "$@" --build-arg "$setting"
done
if ! docker build "$@" --file "$context/deploy/Dockerfile" --tag "$name" "$context" >"$context.log" 2>&1; then
    tail -n 20 "$context.log" >&2
    fail "the build failed; is the package index reached? see the settings at the top of this script"
fi
echo "$name"
