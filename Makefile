# Everything that a person does with this tree. `make` alone says what there is.

.DEFAULT_GOAL := help
.PHONY: help run test check unit e2e badnetwork killloop powercut sim bench bench-peers autobahn fuzz doc

CARGO ?= cargo
BAD_NETWORK_SECONDS ?= 15
KILL_ROUNDS ?= 15
POWER_CUTS ?= 600
FUZZ_SECONDS ?= 60
SEEDS ?= 2000

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build Tidings and start it for development, with a demo page
	$(CARGO) run --profile quick --package tidings -- serve --dev

test: check unit e2e ## all of the checks and tests; installs what the browser test needs

check: ## formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

unit: ## the tests that need neither network nor browser
	$(CARGO) test --workspace --quiet

# With all targets, what the tests have built is what is built here; alone, half of the dependencies would be built once more, with fewer features.
e2e: ## the binary against clients that others wrote, on a bad network, killed in a loop, and without power
	$(CARGO) build --workspace --all-targets
	BAD_NETWORK_SECONDS=$(BAD_NETWORK_SECONDS) KILL_ROUNDS=$(KILL_ROUNDS) ./e2e/run.sh

badnetwork: ## only the bad network; BAD_NETWORK_SECONDS=3600 for an hour of it
	$(CARGO) build --package tidings
	cd e2e && ./setup.sh && node badnetwork.mjs --seconds $(BAD_NETWORK_SECONDS)

killloop: ## only the kill -9 loop; KILL_ROUNDS=200 for more
	$(CARGO) build --package tidings
	cd e2e && ./setup.sh && node killloop.mjs --rounds $(KILL_ROUNDS)

sim: ## random histories against a model; SEEDS=10000 for more, SEED=42 for one with its log
	$(CARGO) run --release --package tidings-sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

powercut: ## only power cuts: a disk that forgets what was not fsynced; POWER_CUTS=2000 for more
	$(CARGO) build --package tidings
	cd e2e && ./setup.sh && node powercut/powercut.mjs --cuts $(POWER_CUTS)

bench: ## every scenario beside its target and the floor, some four minutes on two cores
	$(CARGO) build --release --package tidings
	./target/release/tidings bench

bench-peers: ## beside socket.io, ws, Nchan, NATS, Sockudo; installs them (Debian's as root)
	$(CARGO) build --release --package tidings
	CARGO=$(CARGO) ./crates/bench/peers/install.sh
	./target/release/tidings bench peers --json target/bench-peers.json

autobahn: ## the Autobahn WebSocket suite, some 20 minutes; CASES='1.* 6.*' for a part; needs Python 2.7
	$(CARGO) build --profile quick --package tidings
	cd e2e && set -f && TIDINGS_BIN=../target/quick/tidings node autobahn.mjs $(CASES)

fuzz: ## every decoder for FUZZ_SECONDS each; installs cargo-fuzz
	command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz
	cd fuzz && for target in $$($(CARGO) fuzz list); do \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

doc: ## the documentation of the crates
	$(CARGO) doc --workspace --no-deps --open
