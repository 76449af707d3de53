# The thin front door: each target installs what it needs, then calls `cargo xtask`.
.PHONY: help setup demo test bench kubernetes-test

help:
	@echo "make demo             build, start a server with its agent, and run a Deployment on it (KEEP=1 leaves it running)"
	@echo "make test             everything that must pass before a change lands"
	@echo "make bench            measure every budget of SPECIFICATION.md"
	@echo "make kubernetes-test  what needs a real Kubernetes"

setup:
	@scripts/setup

demo: setup
	@cargo xtask demo $(if $(KEEP),--keep)

test: setup
	@cargo xtask test

bench: setup
	@cargo xtask bench

kubernetes-test: setup
	@cargo xtask kubernetes-test
