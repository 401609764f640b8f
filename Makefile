# Every target does its own set-up: on a fresh Debian that has Go, git and make,
# `make test` and `make demo` install what they lack (scripts/setup says what).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

PKG      ?= ./...
RUN      ?= .
TIMEOUT  ?= 9m
FUZZTIME ?= 10s
BROWSER  ?= chromium
BENCH    ?= ./bench/cmd

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what the tests need (Chromium, certutil, fonts), if it is missing
	@scripts/setup

.PHONY: build
build: ## bin/keytether and bin/keytether-server, static, for this machine
	$(BUILD) -o bin/keytether ./cmd/keytether
	$(BUILD) -o bin/keytether-server ./cmd/keytether-server

.PHONY: test
test: setup ## everything: races, browser logins, kill -9, fuzz seeds (PKG=./internal/grant RUN=TestX)
	@$(GO) build -o bin/testreport ./internal/tools/testreport
	@$(GO) test -json -race -count=1 -p 2 -timeout $(TIMEOUT) -run '$(RUN)' $(PKG) | bin/testreport

.PHONY: lint
lint: ## gofumpt, vet (here, windows, darwin), staticcheck
	@echo "gofumpt"; diff=$$($(GO) tool gofumpt -d . || true); \
	  if [ -n "$$diff" ]; then echo "$$diff"; echo "not formatted: run  go tool gofumpt -w ." >&2; exit 1; fi
	@echo "vet"; $(GO) vet ./...
	@echo "vet windows"; GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) vet ./...
	@echo "vet darwin"; GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	@echo "staticcheck"; $(GO) tool staticcheck ./...

.PHONY: cross
cross: ## build both programs for Windows and macOS, and throw the result away
	@for target in windows/amd64 darwin/arm64 linux/arm64; do \
	  for cmd in keytether keytether-server; do \
	    echo "$$cmd for $$target"; \
	    GOOS=$${target%/*} GOARCH=$${target#*/} $(BUILD) -o /dev/null ./cmd/$$cmd; \
	  done; \
	done

.PHONY: demo
demo: setup ## the story: log in, call, copy, renew, audit, revoke (BROWSER=own for your own browser)
	@BROWSER=$(BROWSER) $(GO) run ./cmd/demo

.PHONY: bench
bench: ## the budgets, beside the crypto floor of this machine in the same run
	@$(GO) run $(BENCH)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each
	@$(GO) run ./internal/tools/fuzzall -time $(FUZZTIME) $(PKG)

.PHONY: docs
docs: ## check what can be checked in the documents: the invariants, the layout, the links
	@$(GO) test -run 'Invariant|Arch|Docs' .

.PHONY: clean
clean: ## remove what the other targets built
	rm -rf bin demo-out
