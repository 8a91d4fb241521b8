.DEFAULT_GOAL := help
.PHONY: help check test

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

check: ## Format, build of every target, generated files current
	cargo fmt --all --check
	cargo check --workspace --all-targets --locked
	cargo test --locked -p tray-operator --test api_crds

test: ## Run everything that CI runs
	cargo test --workspace --locked

