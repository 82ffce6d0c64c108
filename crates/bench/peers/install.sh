#!/bin/sh
# Installs the servers that `make bench-peers` measures Tidings beside. Each that cannot be installed is skipped, with
# the reason; `tidings bench peers` then measures those that are there.
#
#   install.sh [peer …]      all of them when none is named: socketio ws nchan nats sockudo
#
# Debian packages come by apt-get (as root), npm packages by `npm ci`, Sockudo by `cargo install`. No service is
# started or enabled; what is not a Debian package stays in this folder and in target/peers.
set -eu
cd "$(dirname "$0")"

SOCKUDO_VERSION=5.2.0
SOCKUDO_ROOT=${PEERS_TARGET:-../../../target/peers}/sockudo

say() { echo "peers: $*"; }

# Debian starts what it installs; a rival that listens on port 80 from now on is not what anybody asked for.
debian() {
  missing=""
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    reason="there is no apt-get"
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    reason="not root; as root on Debian: apt-get install --no-install-recommends$missing"
    return 1
  fi
  say "apt-get install$missing"
  policy=/usr/sbin/policy-rc.d
  guard=no
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && guard=yes
  fi
  installed=yes
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } >&2 ||
    installed=no
  if [ "$guard" = yes ]; then
    rm -f "$policy"
    trap - EXIT INT TERM
  fi
  if [ "$installed" = no ]; then
    reason="apt-get failed (above)"
    return 1
  fi
  if command -v systemctl >/dev/null 2>&1; then
    for package in $missing; do
      systemctl --quiet disable "$package" 2>/dev/null || true
    done
  fi
}

node_packages() {
  if ! command -v npm >/dev/null 2>&1; then
    reason="node (20 or newer) and npm are needed, on Debian: apt-get install nodejs npm"
    return 1
  fi
  if ! cmp -s node/package-lock.json node/node_modules/.installed-lock; then
    say "npm ci"
    if ! (cd node && npm ci --no-audit --no-fund) >&2; then
      reason="npm ci failed (above)"
      return 1
    fi
    cp node/package-lock.json node/node_modules/.installed-lock
  fi
}

sockudo() {
  if [ -x "$SOCKUDO_ROOT/bin/sockudo" ] && grep -q "\"sockudo $SOCKUDO_VERSION " "$SOCKUDO_ROOT/.crates2.json"; then
    return 0
  fi
  if ! command -v "${CARGO:-cargo}" >/dev/null 2>&1; then
    reason="cargo is needed"
    return 1
  fi
  # Its build translates a .proto file that imports one of Google's.
  debian protobuf-compiler libprotobuf-dev || command -v protoc >/dev/null 2>&1 || return 1
  say "cargo install sockudo $SOCKUDO_VERSION (some ten minutes on two cores)"
  if ! "${CARGO:-cargo}" install sockudo --version "$SOCKUDO_VERSION" --locked --no-default-features --features local \
    --root "$SOCKUDO_ROOT" --target-dir "$SOCKUDO_ROOT/build" --quiet >&2; then
    reason="cargo install failed (above)"
    return 1
  fi
  rm -rf "$SOCKUDO_ROOT/build"
}

for peer in ${*:-socketio ws nchan nats sockudo}; do
  reason=""
  case $peer in
    socketio | ws) install="node_packages" ;;
    nchan) install="debian nginx libnginx-mod-nchan" ;;
    nats) install="debian nats-server" ;;
    sockudo) install="sockudo" ;;
    *)
      echo "peers: $peer is not known; known are socketio ws nchan nats sockudo" >&2
      exit 2
      ;;
  esac
  if $install && version=$(./start "$peer" --version); then
    say "$peer: $version"
  else
    say "$peer: SKIPPED: ${reason:-it does not start}"
  fi
done
