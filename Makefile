# `make run` plays, `make test` tests, `make check` is what a change has to pass besides. Each installs Redis and PostgreSQL
# where they are missing and it may, says what to install where it may not, and is silent about it when they are there.

.PHONY: help run test check fuzz contract deny campaign mutants sqlx rtp load load-smoke bench bench-growth bench-smoke bench-core profile stores stores-for-tests

help:
	@echo "make run     play on this machine: starts everything and prints the address (keeps its data in .dev)"
	@echo "make test    all tests, with a real Redis, PostgreSQL and operator"
	@echo "make check   format, lints, documentation, the core alone, the SQL descriptions"
	@echo "make contract  fuzz a server from its API document alone (a minute; fetches schemathesis, so not in CI)"
	@echo "make deny    licences, banned crates, sources and, where its database can be reached, advisories (not in CI unless installed)"
	@echo "make campaign  break everything for MINUTES=10 (SEED=... repeats a schedule, ACCIDENTS=hosts, SERVERS=3, LOCKS=off) and hold the books against each other"
	@echo "make fuzz    feed everything that is read from outside with what nobody would send, for a minute (FUZZ_SECONDS=15 for each of eight targets)"
	@echo "make mutants  plant each bug of tests/mutants and show which check catches it (ONLY=name for one of them)"
	@echo "make sqlx    write .sqlx anew, after a change of a query or a migration"
	@echo "make load    load this machine for about two minutes and check the books (SCENARIO=ramp, soak, round ..., SERVERS=2)"
	@echo "make bench   the server beside bare handlers that do the same calls, and the targets (QUICK=--quick: a minute, to see it work; ONLY=--only-comparison)"
	@echo "make bench-growth  rates and query plans with more and more players and bets (up to ten million: 10 GB of disk)"
	@echo "make bench-core    instruction counts of the pure core, under valgrind"
	@echo "make profile       a flame graph of the server under load, with perf"
	@echo "make rtp     measure the RTP over ten million rounds of each difficulty"

run: stores
	@cargo run -- dev

test: stores-for-tests
	cargo test --features failpoints -- --test-threads 4

check: stores-for-tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features failpoints -- -D warnings
	cargo clippy -- -D warnings
	cargo check --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features failpoints
	scripts/sqlx --check
	scripts/mutants --check
	@if command -v node >/dev/null; then node tests/verifier.mjs; else echo "not run, node is missing: tests/verifier.mjs (the browser's verifier against the vectors)"; fi

# Eight targets on two threads: a minute.
FUZZ_SECONDS ?= 15
fuzz: stores
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --features failpoints --test all -- --test-threads 2 fuzz::
# No answer of 500 and above, and none that the document does not describe. EXAMPLES=500 for a long run.
contract: stores
	scripts/contract

# Advisories need their database from the network; everything else is in Cargo.lock and the sources.
deny:
	@command -v cargo-deny >/dev/null || { echo "install cargo-deny (it builds for about four minutes): cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --log-level error check licenses bans sources
	@if cargo deny fetch db 2>/dev/null; then cargo deny --log-level error check advisories; else echo "not run, their database cannot be reached: advisories"; fi

campaign: stores
	cargo test --features failpoints --test campaign

# One after the other; the program without a mutant comes first. About two minutes for each.
mutants: stores-for-tests
	scripts/mutants

sqlx: stores
	scripts/sqlx

rtp:
	cargo bench --bench rtp

# Private stores, an operator and servers, all of them on this machine; the report is target/load/report.html.
SCENARIO ?= standard
SERVERS ?= 1
load: stores
	cargo build --release --package faircross --package faircross-load --bins
	cargo run --quiet --release --package faircross-load -- --self --scenario $(SCENARIO) --servers $(SERVERS)

# The same in a few seconds and with the debug build, for CI.
load-smoke: stores
	cargo test --quiet --package faircross-load
	cargo build --package faircross --package faircross-load --bins
	cargo run --quiet --package faircross-load -- --self --smoke

# The server beside bare handlers; the report is target/bench/report.html.
QUICK ?=
bench: stores
	cargo build --release --package faircross --package faircross-load --bins
	cargo run --quiet --release --package faircross-load -- bench $(QUICK) $(ONLY)

# More and more players and bets; the report is target/bench/growth.html.
bench-growth: stores
	cargo build --release --package faircross --package faircross-load --bins
	cargo run --quiet --release --package faircross-load -- growth $(QUICK)

# Both with tiny numbers and the debug build, for CI: they still find what they measure, and PostgreSQL's plans stay on indexes.
bench-smoke: stores
	cargo build --package faircross --package faircross-load --bins
	cargo run --quiet --package faircross-load -- bench --quick --out target/bench/smoke
	cargo run --quiet --package faircross-load -- growth --quick --out target/bench/smoke

# The library and its runner have to be of one version.
GUNGRAUN := $(shell sed -n 's/^gungraun = "=\(.*\)"/\1/p' Cargo.toml)
bench-core:
	@command -v valgrind >/dev/null || { echo "Please install valgrind (apt-get install valgrind), then try again." >&2; exit 1; }
	@[ "$$(gungraun-runner --version 2>/dev/null)" = "gungraun-runner $(GUNGRAUN)" ] || \
		{ echo "Please install the runner (cargo install --locked --version $(GUNGRAUN) gungraun-runner), then try again." >&2; exit 1; }
	cargo bench --no-default-features --bench core

# Where the server spends its time while plain rounds are played: target/bench/flame.svg.
profile: stores
	@command -v perf >/dev/null || { echo "Please install perf (apt-get install linux-perf), then try again." >&2; exit 1; }
	@command -v inferno-flamegraph >/dev/null || { echo "Please install inferno (cargo install --locked inferno), then try again." >&2; exit 1; }
	cargo build --release --package faircross --package faircross-load --bins
	mkdir -p target/bench
	cargo run --quiet --release --package faircross-load -- --self --scenario round --perf target/bench/perf.data
	perf script --no-inline --input target/bench/perf.data | inferno-collapse-perf > target/bench/stacks.txt
	inferno-flamegraph target/bench/stacks.txt > target/bench/flame.svg

stores:
	@scripts/install-stores

stores-for-tests:
	@scripts/install-stores --for-tests
