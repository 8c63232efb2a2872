# Short names; the work is done by xtask, which also installs what is missing.
.PHONY: help lab test ci bench lint fmt tidy
help:
	@echo "make lab     set up, build, bring the first lab up, show it working, take it down"
	@echo "make test    set up, build, run all tests (as root, or with sudo)"
	@echo "make bench   set up, build optimised, measure against floors and peers"
	@echo "make lint    formatting, clippy, the repository's own rules"
	@echo "make ci      everything that a submission has to pass"
lab:
	cargo xtask lab
test:
	cargo xtask test
bench:
	cargo xtask bench
ci:
	cargo xtask ci
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask tidy
fmt:
	cargo fmt --all
tidy:
	cargo xtask tidy
