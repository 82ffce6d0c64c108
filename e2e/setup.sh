#!/bin/sh
# Installs what the black-box tests need: the npm packages of package-lock.json, and Debian's openssl (for
# certificates), gcc (for power cuts), redis-server and Chromium, and the Python packages of grpc/ and socketio/ in a place of their own.
set -eu
cd "$(dirname "$0")"

if ! command -v npm >/dev/null 2>&1; then
  echo "setup: node (20 or newer) and npm are needed, on Debian: apt-get install -y nodejs npm" >&2
  exit 1
fi

stamp=node_modules/.installed-lock
if ! cmp -s package-lock.json "$stamp"; then
  echo "setup: npm ci"
  npm ci --no-audit --no-fund
  cp package-lock.json "$stamp"
fi

# A program, and the packages of Debian that have it.
need() {
  command -v "$1" >/dev/null 2>&1 && return
  shift
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: $1 is missing, installing Debian's package"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
  else
    echo "setup: $1 is missing; as root on Debian: apt-get install -y $*" >&2
    exit 1
  fi
}
need openssl openssl
need gcc gcc libc6-dev
need redis-server redis-server redis-tools

if [ ! -x /usr/bin/chromium ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: /usr/bin/chromium is missing, installing Debian's package"
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; }; then
      echo "setup: that failed; until chromium is there the browser test is SKIPPED" >&2
    fi
  else
    echo "setup: /usr/bin/chromium is missing; as root on Debian: apt-get install -y chromium" >&2
    echo "setup: until then the browser test is SKIPPED" >&2
  fi
fi

stamp=.venv/.installed-requirements
wanted=$(cat grpc/requirements.txt socketio/requirements.txt)
if [ "$wanted" != "$(cat "$stamp" 2>/dev/null)" ]; then
  echo "setup: Python packages for gRPC and Socket.IO, into .venv"
  if python3 -m venv .venv && .venv/bin/pip install -q --disable-pip-version-check -r grpc/requirements.txt -r socketio/requirements.txt; then
    printf '%s' "$wanted" > "$stamp"
  else
    echo "setup: that failed (it needs python3 with venv, on Debian python3-venv, and PyPI); until then the tests in Python are SKIPPED" >&2
  fi
fi
