SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo root check lint docs dependencies unused advisories generated test test-unit test-cluster test-others prepare cluster-up cluster-down image install bench bench-engine bench-control-plane bench-orgs generate simulate simulate-night

# Programs and images that are built once, outside the checkout.
CACHE := $(or $(TRAY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tray-operator)
TARGET := $(or $(CARGO_TARGET_DIR),target)
DENY := $(CACHE)/cargo/cargo-deny-0.20.2/bin/cargo-deny
MACHETE := $(CACHE)/cargo/cargo-machete-0.9.2/bin/cargo-machete

# Every cargo call takes the whole workspace, and examples, which bring the features of development dependencies, as tests
# do: with other features every library is built again, and two builds of one program take turns at its path.
E2E := cargo build --quiet --workspace --locked --examples --bin tray-e2e && $(TARGET)/debug/tray-e2e

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: root ## The main job end to end on a local cluster (Linux, root); KEEP=1 leaves it running
	@echo 'The demo compiles the harness, starts a local cluster of three regions, installs the operator on it, and makes three orgs.'
	@echo 'It takes snapshots while rows are written, prunes, destroys the volumes of one org, restores it, compares, and times each step.'
	@echo 'The first time it also builds programs and images, in about 15 minutes on two cores besides compiling, into $(CACHE).'
	@echo 'Compiling prints nothing until it is done. Once everything is built the demo takes about a minute and a half.'
	$(E2E) demo $(if $(KEEP),--keep)

check: lint dependencies unused advisories docs generated ## Format, lints, dependencies, documentation, generated files

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings

docs:
	# The private items are documented too, so links to them lead somewhere.
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc --workspace --locked --no-deps --document-private-items

dependencies: $(DENY)
	$(DENY) --locked check bans licenses sources

unused: $(MACHETE)
	$(MACHETE) --skip-target-dir

advisories: $(DENY)
	@if timeout 120 $(DENY) --locked fetch db >/dev/null 2>&1; then \
		$(DENY) --locked check --disable-fetch advisories; \
	else \
		echo 'NOT CHECKED: the database of security advisories cannot be reached from here; dependencies were not compared with it.'; \
	fi

generated:
	cargo test --workspace --locked --test checkout api_crds

# The names of a folder's programs of tests: a file each, or a folder with a main.rs.
tests_in = $(notdir $(basename $(wildcard $(1)/*.rs)) $(patsubst %/main.rs,%,$(wildcard $(1)/*/main.rs)))
CLUSTER_TESTS := $(call tests_in,e2e/tests)
OTHER_TESTS := $(foreach folder,$(wildcard crates/*/tests) engine/tests sim/tests tests,$(call tests_in,$(folder)))

# What ONLY names: a program, a file or folder of one in tests/, or any part of a test's name.
PARTS := $(wildcard tests/*/$(ONLY).rs tests/*/$(ONLY)/mod.rs tests/*/bare/$(ONLY).rs)
PROGRAMS := $(filter $(OTHER_TESTS),$(foreach part,$(PARTS),$(word 2,$(subst /, ,$(part)))))
SELECTED = $(if $(filter $(ONLY),$(CLUSTER_TESTS) $(OTHER_TESTS)),--test $(ONLY),$(addprefix --test ,$(sort $(PROGRAMS))) $(ONLY))

test: prepare ## All tests: unit, API server, AWS stand-in, end to end on the local cluster (Linux, root); ONLY=name for some
ifdef ONLY
	cargo test --workspace --locked $(SELECTED)
else
	cargo test --workspace --locked --no-run
	# What runs on the local cluster mostly waits, and only one of it fits on a machine; the other tests run beside it.
	$(MAKE) --no-print-directory --jobs=2 --output-sync=line test-cluster test-others
endif

test-unit: ## Unit tests alone: no cluster, no root
	cargo test --workspace --locked --lib --bins

# A program of tests as a recipe line of its own: what it prints stays together, and is shown when it ends.
define test_line
cargo test --workspace --locked --test $(1)

endef

test-cluster:
	$(foreach test,$(CLUSTER_TESTS),$(call test_line,$(test)))
test-others: test-unit
	cargo test --workspace --locked --doc
	cd e2e/aws && PYTHONDONTWRITEBYTECODE=1 "$$(TRAY_CACHE='$(CACHE)' python3 prepare.py)" -m unittest discover tests
	$(foreach test,$(OTHER_TESTS),$(call test_line,$(test)))

bench: bench-engine bench-control-plane bench-orgs ## Measure: the engine on one gibibyte, the control plane beside a bare loop, an org on the local cluster

bench-engine:
	cargo build --quiet --workspace --locked --example measure
	rm -rf $(TARGET)/bench/engine && mkdir -p $(TARGET)/bench/engine
	$(TARGET)/debug/examples/measure $(TARGET)/bench/engine

bench-control-plane: ## Requests, time, CPU and memory of 300 and 1,000 orgs; FLAGS='--orgs 10000 --pairs 1' for more
	cargo bench --quiet --workspace --locked --profile dev --bench control_plane -- $(FLAGS)

prepare: root ## Build what tests and the local cluster start, once (15 to 20 minutes)
	$(E2E) cluster prepare

# Said before anything is compiled.
root:
	@[ "$$(id -u)" = 0 ] || { echo 'this needs root, for namespaces, mounts and cgroups: sudo -E make …' >&2; exit 1; }

cluster-up: root ## Start the local three-region cluster (builds its programs the first time)
	$(E2E) cluster up

cluster-down: ## Stop it; nothing of it stays
	$(E2E) cluster down

image: root ## Build the operator's image and print the path of its archive (Linux, root)
	$(E2E) image

install: root ## Build the operator and install it on the local cluster with Helm
	$(E2E) install

bench-orgs: cluster-up install
	$(E2E) bench

# With examples, as everywhere.
SIM := cargo build --quiet --workspace --locked --examples --bin tray-sim && $(TARGET)/debug/tray-sim --commit "$$(git describe --always --dirty)"
# Our own crates are optimised for a night: that takes some minutes once, and saves almost half of the time of each world.
SIM_NIGHT := export CARGO_PROFILE_DEV_OPT_LEVEL=3; $(SIM)

simulate: ## The controllers in a simulated world: SEED=7 again, or SEEDS=1..1000 DAYS=2; FLAGS='--orgs 3 --calm --steps'
	$(SIM) $(or $(SEED),$(SEEDS),1..100) --days $(or $(DAYS),2) $(FLAGS)

simulate-night: ## The same for HOURS=8: short worlds with every fault, then long ones
	$(SIM_NIGHT) $(or $(SEEDS),1000000..9000000) --days 2 --minutes $$(( $(or $(HOURS),8) * 30 ))
	$(SIM_NIGHT) $(or $(SEEDS),1000000..9000000) --days 400 --minutes $$(( $(or $(HOURS),8) * 30 ))

generate: ## Write crds/ and the chart's copies from the code
	cargo test --workspace --locked --test checkout -- --ignored regenerate

# A program of the cargo registry, in a folder of its own version. The temporary target directory keeps ours clean.
$(CACHE)/cargo/%:
	tool=$(firstword $(subst /, ,$*)); name=$${tool%-*}; \
	env -u CARGO_TARGET_DIR cargo install --locked --quiet --version "$${tool##*-}" --root "$(CACHE)/cargo/$$tool" "$$name"
