#!/bin/sh
# All black-box tests against a built server, and beside them a bad network, the kill loop and power cuts.
#   TIDINGS_BIN   the server (default ../target/debug/tidings)
#   BAD_NETWORK_SECONDS   how long clients are behind a bad network (default 15)
#   KILL_ROUNDS   rounds of the kill loop (default 10)
#   POWER_CUTS    power cuts (default 15), for no longer than POWER_SECONDS (default 25)
set -eu
cd "$(dirname "$0")"
here=$PWD

bin=${TIDINGS_BIN:-$here/../target/debug/tidings}
if [ ! -x "$bin" ]; then
  echo "run: there is no server at $bin; build it (cargo build -p tidings) or set TIDINGS_BIN" >&2
  exit 1
fi

./setup.sh
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT

# They mostly wait, as most tests do: all at once takes no longer than the tests alone. What they say comes when the tests are through.
(
  status=0
  node badnetwork.mjs --seconds "${BAD_NETWORK_SECONDS:-15}" || status=$?
  node killloop.mjs --rounds "${KILL_ROUNDS:-10}" || status=$?
  node powercut/powercut.mjs --cuts "${POWER_CUTS:-15}" --seconds "${POWER_SECONDS:-25}" || status=$?
  exit "$status"
) >"$said/rest" 2>&1 &
rest=$!

status=0
node --test --test-concurrency=4 --test-timeout=170000 ./*.test.mjs || status=$?
wait "$rest" || status=$?
cat "$said/rest"
exit "$status"
