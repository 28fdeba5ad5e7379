# Thin doors only: each calls meson or a script that a person could call.

BUILD ?= build

.PHONY: all build run test test-long bench bench-long install format tidy clean help

all: build

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

build: ## build into ./build: the binary, the hotel, the libraries, the nginx module
	@tools/install_packages.sh build
	@tools/build.sh $(BUILD)

run: ## install what is missing, build, and start the hotel: server, follower and gateway; Ctrl-C ends it
	@tools/install_packages.sh build run
	@tools/build.sh $(BUILD)
	@exec tools/run_hotel.py --build $(BUILD)

test: ## install what is missing, build with sanitizers and warnings as errors, run every suite
	@tools/install_packages.sh build run test
	@exec tools/run_tests.py

test-long: ## the suites that take their time, an hour at most (tools/run_tests.py --forever has no end)
	@tools/install_packages.sh build run test long
	@exec tools/run_tests.py --long

bench: ## measure, each figure beside its peer in the same run
	@tools/install_packages.sh build run bench
	@tools/build.sh $(BUILD)
	@exec bench/run.py --build $(BUILD)

bench-long: ## measure against the number of events, up to 100 million; takes hours and 60 GB of disk
	@tools/install_packages.sh build run bench
	@tools/build.sh $(BUILD)
	@exec bench/run.py --build $(BUILD) --long

install: build ## install headers, libraries, binary and manual (DESTDIR is honoured)
	@meson install -C $(BUILD) --no-rebuild

format: ## lay out our C as .clang-format says
	@git ls-files '*.c' '*.h' | xargs clang-format -i

tidy: build ## look for defects with clang-tidy
	@git ls-files 'src/*.c' 'breaker/*.c' 'cli/*.c' | xargs clang-tidy -p $(BUILD) --quiet

clean: ## remove what was built; data under ./run stays
	@rm -rf build build-test build-fuzz
