#!/bin/sh
# All black-box tests against a built server, then a bad network, the kill loop and power cuts.
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
status=0
node --test --test-concurrency=3 --test-timeout=170000 ./*.test.mjs || status=$?
node badnetwork.mjs --seconds "${BAD_NETWORK_SECONDS:-15}" || status=$?
node killloop.mjs --rounds "${KILL_ROUNDS:-10}" || status=$?
node powercut/powercut.mjs --cuts "${POWER_CUTS:-15}" --seconds "${POWER_SECONDS:-25}" || status=$?
exit "$status"
