# Every command of the project; CI calls only these. `make help` lists them.

SHELL := /bin/sh
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
CHECKED := $(wildcard server worker gateway migrate local tools client bench)
INSTALL = @command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer"; exit 1; }; \
	$(PYTHON) local/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help setup runtime run reset seed mail-preview observe postgres redis mail createdb server worker gateway gen schema-docs \
	fmt lint types check deploy-tools check-deploy pin-images release-notes test test-long bench bench-growth restore-drill release-archive \
	verify administrator migrate-up migrate-down migrate-status migrate-new

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Make .venv with everything that running, checking and testing need
	$(INSTALL) base local dev

runtime:
	$(INSTALL) base local

run: runtime ## Start the whole service on this machine; Ctrl-C stops it, data stays in .local/
	@exec $(VENV_PYTHON) -m local run

reset: runtime ## Delete the data that make run keeps in .local/
	@$(VENV_PYTHON) -m local reset

seed: runtime ## Add the demo users to the running service, and more: make seed USERS=200 PRODUCTS=50 ORDERS=2000
	@$(VENV_PYTHON) -m local seed $(if $(USERS),--users "$(USERS)") $(if $(PRODUCTS),--products "$(PRODUCTS)") \
		$(if $(ORDERS),--orders "$(ORDERS)")

mail-preview: runtime ## Write every mail with sample data to .local/mail-preview/, to be looked at
	@$(VENV_PYTHON) -m local.mail_preview

verify: runtime ## Check every balance of the running service against its entries
	@$(VENV_PYTHON) -m local verify

restore-drill: runtime ## Back the running local stack up, restore it aside, and verify what came back
	@$(VENV_PYTHON) -m local.restore_drill

observe: runtime ## Watch the running service with Prometheus, and Grafana where it is installed; Ctrl-C ends it
	@exec $(VENV_PYTHON) -m local observe

postgres: runtime ## Start PostgreSQL alone; Ctrl-C stops it, data stays in .local/
	@exec $(VENV_PYTHON) -m local postgres

redis: runtime ## Start Redis alone, likewise
	@exec $(VENV_PYTHON) -m local redis

mail: runtime ## Start the mail sink alone, likewise
	@exec $(VENV_PYTHON) -m local mail

createdb: runtime ## Create database and roles in the PostgreSQL of make postgres
	@$(VENV_PYTHON) -m local createdb

server: runtime ## Start the server alone; what the environment does not set is as in make run
	@exec $(VENV_PYTHON) -m local server

worker: runtime ## Start the worker alone, likewise
	@exec $(VENV_PYTHON) -m local worker

gateway: runtime ## Start the gateway alone, likewise
	@exec $(VENV_PYTHON) -m local gateway

administrator: runtime ## Make a user an administrator: make administrator USERNAME=alice
	@$(VENV_PYTHON) -m server.administrator "$(USERNAME)" $(ARGS)

gen: setup ## Rebuild gen/ from proto/ and db/
	$(VENV_PYTHON) -m tools.generate

schema-docs: setup ## Rebuild docs/schema.dbml and docs/schema.md from the migrated database
	$(VENV_PYTHON) -m local.schema_docs

release-archive: ## Keep what this release runs of, for the tests of the next one
	rm -f tests/releases/*.tar.xz
	git archive HEAD server worker gen/bank gen/bankdb db/migrations | xz -9e > \
		tests/releases/$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).tar.xz

fmt: setup ## Format the code and the contract
	$(VENV_PYTHON) -m ruff check --fix-only --quiet .
	$(VENV_PYTHON) -m ruff format .
	.venv/bin/buf format --write proto

lint: setup ## Check style, the contract and that gen/ is up to date
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m tools.lint_proto
	$(VENV_PYTHON) -m tools.generate --check

types: setup ## Check the types
	$(VENV_PYTHON) -m mypy $(CHECKED)

check: lint types ## All checks of code that run nothing

deploy-tools:
	@$(PYTHON) local/bootstrap.py deploy

check-deploy: setup deploy-tools ## Check images, compose, workflows and all else that deploys; NAMES=hadolint for one
	@$(VENV_PYTHON) -m tools.deploy_checks $(NAMES)

pin-images: setup ## Name every image by the digest it has in its registry now (needs Docker and network)
	$(VENV_PYTHON) -m tools.pin_images

release-notes: ## Print what the changelog says of a version: make release-notes VERSION=0.1.0
	@$(PYTHON) -m tools.release_notes "$(VERSION)"

test: setup deploy-tools ## Run the tests against real servers
	$(VENV_PYTHON) -m pytest -m "not long" $(ARGS)

test-long: setup ## Run the long tests: fuzzing, faults, browsers
	$(VENV_PYTHON) -m pytest -m long $(ARGS)

bench: setup ## Measure service and yardstick in turn; bars as ratios (needs ghz and wrk)
	$(VENV_PYTHON) -m bench --report docs/benchmarks.md $(ARGS)

bench-growth: setup ## The same load on a ledger of 1 million accounts and 10 million entries (half an hour)
	$(VENV_PYTHON) -m bench.growth --report docs/growth.md $(ARGS)

migrate-up: runtime ## Apply the missing migrations to MIGRATION_DATABASE_URL, or to the running local stack
	@$(VENV_PYTHON) -m local.migrate up

migrate-down: runtime ## Take back the last migration
	@$(VENV_PYTHON) -m local.migrate down

migrate-status: runtime ## List the migrations and which are applied
	@$(VENV_PYTHON) -m local.migrate status

migrate-new: runtime ## Write an empty migration: make migrate-new NAME=create_orders
	@$(VENV_PYTHON) -m local.migrate new "$(NAME)"
