# SPDX-License-Identifier: Apache-2.0
#
# The front door. Everything here is a preset of CMakePresets.json plus, at first, what Debian has
# to provide; `cmake --workflow --preset dev` is the same as `make test` once that is there.

JOBS ?= $(shell nproc)
# Where `make install` puts things; DESTDIR is obeyed.
PREFIX ?= /usr/local
# How often `make prove` repeats what may fail by chance.
ROUNDS ?= 20
# Tests that step through operations, and with TASKWORK_PROVE stop after each instruction; storms of
# threads, events and kills, with it of minutes. Not by ctest, whose time-outs are for the shorter
# form. The shipped code is that of the release build.
STEPPED := src/defer/defer_every_instruction_test src/defer/defer_death_test \
    src/defer/defer_stopped_test src/map/map_deferral_instruction_test \
    src/map/map_operations_instruction_test src/map/map_hash_instruction_test \
    src/map/map_lru_instruction_test src/map/map_in_place_instruction_test \
    src/map/map_per_cpu_test src/map/map_map_in_map_test src/map/map_program_array_test \
    src/map/map_stack_trace_test src/map/map_lpm_trie_test src/map/map_queue_stack_test \
    src/map/map_ring_instruction_test src/map/map_bloom_filter_test src/map/map_spin_lock_test \
    src/library/library_every_instruction_test tests/native/native_death_test
STORMS := tests/storm_stress_test tests/storm_kill_test
# Random commands of bpf(2) to maps here and in the kernel: a thousand scripts of ten thousand a kind
# (needs root), JOBS kinds at a time.
SCRIPTS := tests/conformance_maps_test tests/conformance_lru_test \
    tests/conformance_perf_event_array_test tests/conformance_program_array_test
# Of maps of maps too, by a hundred processes with ten scripts each: they wait for grace periods of the
# kernel, not for a processor.
SCRIPTS_OF_MAPS_OF_MAPS := tests/conformance_map_in_map_test
# Maps under threads and events: histories, and a minute for each kind; the latter with sanitizers too.
MAPS := tests/maps_history_test tests/maps_stress_test tests/maps_fields_stress_test \
    tests/maps_ring_test
SANITIZED := tests/maps_stress_test tests/maps_fields_stress_test
# Fuzzers of loading: fuzz_y begins with the inputs in corpus_y and ends after so many of them, 20
# million in all, in shares by what each can do: about forty minutes on two processors.
FUZZED := types program object
FUZZ_RUNS_types ?= 12000000
FUZZ_RUNS_program ?= 7500000
FUZZ_RUNS_object ?= 500000
# Leaks are looked for at the end: what an input made is given back later, by the worker.
FUZZ_BOUNDS := -timeout=120 -rss_limit_mb=2048 -max_len=16384 -len_control=0 -detect_leaks=0 -entropic=0

# Executions of programs that the verifier has accepted; inputs that follow what they reach in it.
SOUND_RUNS ?= 10000000
SOUND_INPUTS ?= 200000
# Programs that are run in native code, beside the interpreter; executions in the kernel (needs root), beside both.
ENGINE_PROGRAMS ?= 10000000
KERNEL_RUNS ?= 100000

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export CTEST_PARALLEL_LEVEL := $(JOBS)

PROVES := prove-chance prove-stepped prove-storms prove-maps prove-scripts prove-sanitized prove-fuzzed \
    prove-sound prove-engines prove-explored
.PHONY: install help demo test check prove $(PROVES) mutants bench coverage tidy format install-deps clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile | expand -t 24

demo: install-deps  ## build, and sample an unmodified program
	cmake --preset release
	cmake --build --preset release --target product
	tools/demo.sh build/release

test: dev  ## build and run all tests (about five minutes)
	ctest --preset dev

check: dev  ## the one-minute subset: lints, unit tests, a few programs
	ctest --preset dev -L '^(lint|unit|program-smoke)$$'

prove: prove-chance prove-stepped prove-storms prove-maps prove-scripts prove-sanitized  ## long: all of what follows
prove: prove-fuzzed prove-sound prove-engines prove-explored mutants

prove-chance: dev  ## what may fail by chance, ROUNDS times over
	ctest --test-dir build/dev --output-on-failure --no-tests=error \
	    -L '^(stress|reference)$$' --repeat until-fail:$(ROUNDS)

prove-stepped: install-deps  ## an event after each instruction, a death at each one
	cmake --preset release
	cmake --build --preset release --target $(notdir $(STEPPED))
	@set -e; for test in $(STEPPED); do \
	    echo "== release: $$test"; TASKWORK_PROVE=1 build/release/$$test; done

prove-storms: dev  ## minutes of schedulers, events, forks; ten thousand kills
	cmake --preset release
	cmake --build --preset release --target $(notdir $(STORMS))
	@set -e; for preset in release dev; do for test in $(STORMS); do \
	    echo "== $$preset: $$test"; TASKWORK_PROVE=1 build/$$preset/$$test; done; done

prove-maps: install-deps  ## each kind of map under threads and events for a minute, histories
	cmake --preset release
	cmake --build --preset release --target $(notdir $(MAPS))
	@set -e; for test in $(MAPS); do \
	    echo "== release: $$test"; TASKWORK_PROVE=1 build/release/$$test; done

prove-scripts: install-deps  ## random scripts of map commands, here and in the kernel (root)
	cmake --preset release
	cmake --build --preset release --target $(notdir $(SCRIPTS) $(SCRIPTS_OF_MAPS_OF_MAPS))
	@set -e; for test in $(SCRIPTS); do echo "== release: $$test"; seq 0 $$(($(JOBS) - 1)) | \
	    TASKWORK_PROVE=1 GTEST_TOTAL_SHARDS=$(JOBS) xargs -P $(JOBS) -I{} \
	    env GTEST_SHARD_INDEX={} build/release/$$test; done
	@set -e; for test in $(SCRIPTS_OF_MAPS_OF_MAPS); do echo "== release: $$test"; seq 0 99 | \
	    TASKWORK_PROVE=1 xargs -P 100 -I{} env TASKWORK_SEED={}1 build/release/$$test; done

prove-sanitized: install-deps  ## the maps' minute again, with sanitizers
	@set -e; for preset in asan tsan; do cmake --preset $$preset; \
	    cmake --build --preset $$preset --target $(notdir $(SANITIZED)); \
	    for test in $(SANITIZED); do \
	        echo "== $$preset: $$test"; TASKWORK_PROVE=1 build/$$preset/$$test; done; done

prove-fuzzed: install-deps  ## malformed inputs, FUZZ_RUNS_x of fuzzer x, with sanitizers
	cmake --preset fuzz
	cmake --build --preset fuzz --target $(addprefix fuzz_,$(FUZZED))
	@set -e; cd build/fuzz/tests/fuzz/loading; $(foreach x,$(FUZZED), echo "== fuzz: $(x)"; \
	    mkdir -p found_$(x); seq 1 $(JOBS) | xargs -P $(JOBS) -I{} ./fuzz_$(x) $(FUZZ_BOUNDS) \
	        -runs=$$(($(FUZZ_RUNS_$(x)) / $(JOBS))) -artifact_prefix=found_$(x). \
	        found_$(x) $(CURDIR)/tests/fuzz/loading/corpus_$(x);)

prove-sound: install-deps  ## executions stay within what the verifier walked
	cmake --preset release
	cmake --build --preset release --target soundness
	seq 1 $(JOBS) | xargs -P $(JOBS) -I{} build/release/tests/fuzz/soundness/soundness \
	    --seed {}000000000 --executions $$(($(SOUND_RUNS) / $(JOBS)))
	cmake --preset clang
	cmake --build --preset clang --target fuzz_soundness
	@set -e; cd build/clang/tests/fuzz/soundness; mkdir -p found; \
	seq 1 $(JOBS) | xargs -P $(JOBS) -I{} ./fuzz_soundness -timeout=120 -max_len=4096 \
	    -runs=$$(($(SOUND_INPUTS) / $(JOBS))) -artifact_prefix=found. found \
	    $(CURDIR)/tests/fuzz/soundness/corpus_soundness

prove-engines: install-deps  ## what the interpreter does is done in native code, and in the kernel (root)
	cmake --preset release
	cmake --build --preset release --target engines kernel_engines
	seq 1 $(JOBS) | xargs -P $(JOBS) -I{} build/release/tests/fuzz/engines/engines \
	    --seed {}000000000 --programs $$(($(ENGINE_PROGRAMS) / $(JOBS)))
	seq 1 $(JOBS) | xargs -P $(JOBS) -I{} build/release/tests/fuzz/engines/kernel_engines \
	    --seed {}000000000 --executions $$(($(KERNEL_RUNS) / $(JOBS)))

prove-explored: dev  ## the explorer's large scenarios
	build/dev/tests/explore/explore --large --budget 300

mutants: dev  ## faults put in one at a time, which the explorer, the soundness fuzzer must catch
	tools/mutants.sh --build build/dev --jobs $(JOBS)
	cmake --preset release
	tools/soundness_mutants.sh --build build/release

install: install-deps  ## build, and install the command and the library into PREFIX (/usr/local)
	cmake --preset release
	cmake --build --preset release --target product taskwork_shared taskwork_static
	cmake --install build/release --prefix "$(PREFIX)"

bench: install-deps  ## build and run the benchmarks
	cmake --preset bench
	cmake --build --preset bench
	@set -e; for bench in build/bench/bench/*_bench; do echo "== $$bench"; $$bench; done

coverage: install-deps  ## which lines the unit tests reach
	rm -rf build/coverage/profile
	cmake --workflow --preset coverage
	tools/coverage.sh build/coverage

tidy: install-deps  ## clang-tidy over all sources (slow)
	tools/tidy.sh

format: install-deps  ## format the sources in place
	tools/sources.sh | xargs clang-format-19 -i

install-deps:  ## install the Debian packages that are missing
	@tools/bootstrap.sh

clean:  ## remove everything built
	rm -rf build

# The build that tests run in.
.PHONY: dev
dev: install-deps
	cmake --preset dev
	cmake --build --preset dev
