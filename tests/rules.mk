# What is run and checked.  `make test` is the program and the clients of every day, `make test-world` the long table; their stages are targets of their own.
PYTHON       ?= $(firstword $(wildcard /usr/bin/python3) python3)
FUZZ_SECONDS ?= 60
ASAN         := -fsanitize=address,undefined -fno-sanitize-recover=undefined
JOBS         ?= $(shell nproc 2>/dev/null || echo 1)
SANITIZED     = $(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN="$(ASAN)" OPT="-O1 -g -fno-omit-frame-pointer"
LINK_TEST     = $(Q)$(CC) $(SAN) $(LDHARD) -o $@ $^

# The objects of the fakes that a test names in its first line: /* links: tests/fakes/fake_clock.c */.
# They stand before the archive, so the linker never looks for the real module.
comma := ,
links = $(patsubst %.c,$(BUILD)/%.o,$(shell awk 'NR == 1 && !/^\/\* links:/ { exit } { sub(/^(\/\* links:| \*)/, ""); end = sub(/\*\/.*/, ""); print; if (end) exit }' $(1)))

# Stages in one word run side by side, in lanes apart by a comma; those of a lane, apart by a plus, one after the other.  The tests that wait (e2e) and
# those that compute share two processors well; what judges time or memory (e2e-serial) comes last and alone.
TEST_STAGES  := e2e,floors+format+lint+unit+sim-short+fuzz-short,asan-unit+torture-short+asan-e2e e2e-serial
WORLD_STAGES := e2e-world,sim-long+mutants+model,torture+fuzz-long chaos-short e2e-world-serial bench-memory

.PHONY: test test-run test-world test-world-run unit e2e e2e-serial e2e-world e2e-world-serial asan ubsan asan-unit asan-e2e fuzz fuzz-short fuzz-long floors lint format fmt \
    demo demo-run deps help node bench wrap-table
test: ## installs what is missing (Debian, root), then floors, format, lint, unit, end to end, sanitizers, short torture and fuzz runs
	@tests/tools/deps -i test
	@$(MAKE) --no-print-directory test-run

test-run:
	@$(MAKE) --no-print-directory -j$(JOBS) all programs node $(READER)
	@BUILD=$(BUILD) tests/tools/stages test $(TEST_STAGES)

test-world: ## the same for the long table of programs and servers, and the long runs of simulation, model, torture and fuzzers
	@tests/tools/deps -i world
	@$(MAKE) --no-print-directory test-world-run

test-world-run:
	@$(MAKE) --no-print-directory -j$(JOBS) all programs node $(READER)
	@BUILD=$(BUILD) tests/tools/stages test-world $(WORLD_STAGES)

deps: ## installs what the tests need (Debian, root), or names what is missing
	@tests/tools/deps -i test

demo: ## installs what is missing, then runs the whole flow on this machine in about 30 seconds
	@tests/tools/deps -i demo
	@$(MAKE) --no-print-directory demo-run

demo-run: all
	@BUILD=$(BUILD) $(PYTHON) examples/quickstart/demo.py

# --- unit: cmocka ---
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
define unit_rule
$(1): $(1).o $(call links,$(patsubst $(BUILD)/%,%.c,$(1))) $(BUILD)/libsidekey.a
	$$(call say,LINK,$$@)
	$$(LINK_TEST) -lcmocka $$(LIBS)
endef
$(foreach t,$(UNIT),$(eval $(call unit_rule,$(t))))
-include $(UNIT:=.d) $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/fakes/*.c tests/fuzz/*.c))
.SECONDARY: $(UNIT:=.o)

unit: $(UNIT) ## the unit tests
	@tests/tools/unit $(UNIT)

asan-unit: ## the unit tests under AddressSanitizer and UBSan
	@$(SANITIZED) -j$(JOBS) programs
	@$(SANITIZED) unit sim

# What the stages run, built by as many jobs as there are processors; they run one after the other.
.PHONY: programs
programs: $(UNIT) $(if $(SAN),$(BUILD)/sidekey $(BUILD)/libsidekey-preload.so)

# --- torture: the n-th allocation fails ---
TORTURES := $(patsubst tests/torture/%.c,$(BUILD)/tests/torture/%,$(wildcard tests/torture/torture_*.c))
WRAPPED  := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf __asprintf_chk __vasprintf_chk mmap mmap64 munmap)
define torture_rule
$(1): $(1).o $(BUILD)/tests/torture/torture.o $(call links,$(patsubst $(BUILD)/%,%.c,$(1))) $(BUILD)/libsidekey.a
	$$(call say,LINK,$$@)
	$$(LINK_TEST) $$(WRAPPED) -lcmocka $$(LIBS)
endef
$(foreach t,$(TORTURES),$(eval $(call torture_rule,$(t))))
-include $(TORTURES:=.d) $(BUILD)/tests/torture/torture.d
.SECONDARY: $(TORTURES:=.o) $(BUILD)/tests/torture/torture.o

.PHONY: torture torture-run torture-short
torture: ## each scenario with its n-th allocation failing, n = 1, 2, 3 …, under both sanitizers (TORTURE_MAX=n: at most n places each)
	@$(SANITIZED) torture-run

torture-short: ## a bounded part of that
	@TORTURE_MAX=40 $(SANITIZED) torture-run

torture-run: $(TORTURES)
	@tests/tools/torture $(TORTURES)

# --- simulation: the refresh core in a world of numbers ---
SIM_SCHEDULES ?= $(if $(SAN),2000,100000)
SIM_OBJ  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/sim/*.c))
.SECONDARY: $(SIM_OBJ)
-include $(SIM_OBJ:.o=.d)
programs: $(BUILD)/tests/sim/sim
$(BUILD)/tests/sim/sim: $(SIM_OBJ) $(BUILD)/libsidekey.a
	$(call say,LINK,$@)
	$(LINK_TEST) $(LIBS)

.PHONY: sim
sim: $(BUILD)/tests/sim/sim ## the refresh core under 100,000 schedules of faults (SIM_SCHEDULES=n; SEED=n replays one)
	@$(BUILD)/tests/sim/sim $(SIM_SCHEDULES)

.PHONY: sim-short sim-long
sim-short:
	@$(MAKE) --no-print-directory sim SIM_SCHEDULES=30000

sim-long:
	@$(MAKE) --no-print-directory sim SIM_SCHEDULES=200000

.PHONY: mutants
mutants: ## the refresh core broken in a copy, one way at a time: the simulation must find each
	@BUILD=$(BUILD) tests/sim/mutants

.PHONY: model
model: ## the lease protocol checked by spin, and each way to break it found
	@BUILD=$(BUILD) tests/model/run

# --- end to end: pytest, real peers ---
node: $(BUILD)/node/.ready
NODE_LOCK := $(shell tests/tools/node-packages --lock)
$(BUILD)/node/.ready: $(NODE_LOCK)
	$(call say,NPM,$(@D))
	$(Q)tests/tools/node-packages $(@D) && touch $@

# The clients of the table of programs.
$(BUILD)/wrap-node/.ready: tests/wrap/package-lock.json
	$(call say,NPM,$(@D))
	$(Q)tests/tools/node-packages $(@D) wrap && touch $@

wrap-table: all node $(BUILD)/wrap-node/.ready ## measures which programs reach sidekey by which layer, and writes docs/programs.md (about two minutes; needs "tests/tools/deps -i world")
	@BUILD=$(BUILD) SIDEKEY_NODE=$(BUILD)/node $(PYTHON) tests/wrap/table.py --write docs/programs.md

# llhttp alone, to say how it reads what was forwarded.
READER   := $(BUILD)/tests/fakes/llhttp_reader
$(READER): $(READER).o $(filter $(BUILD)/llhttp/%,$(OBJ))
	$(call say,LINK,$@)
	$(LINK_TEST) $(LLHTTP_LIB)

# E2E_JOBS tests at a time: they wait more than they compute.  Each has its own ports and folders; those of one file that share a scene stay together.
E2E_JOBS ?= $(shell expr 4 \* $(JOBS))
BESIDE    = -n $(E2E_JOBS) --dist loadgroup
pytest    = BUILD=$(1) SIDEKEY_NODE=$(BUILD)/node PYTHONDONTWRITEBYTECODE=1 PYTHON=$(PYTHON) tests/tools/e2e $(PYTEST_ARGS)
e2e: all node $(READER) ## the real program against real servers and clients (E2E=tests/e2e/test_x.py::name for some, one at a time)
	@$(call pytest,$(BUILD)) $(if $(E2E),$(E2E),$(BESIDE) -m "not serial and not world" tests/e2e)

e2e-serial: all node $(READER) ## the end-to-end tests that measure time or memory, one at a time
	@$(call pytest,$(BUILD)) -m "serial and not world" tests/e2e

e2e-world: all node $(BUILD)/wrap-node/.ready $(READER) ## the long table of programs and servers
	@$(call pytest,$(BUILD)) $(BESIDE) -m "world and not serial" tests/e2e

e2e-world-serial: all node $(READER)
	@$(call pytest,$(BUILD)) -m "world and serial" tests/e2e

CHAOS_SECONDS ?= 300
.PHONY: chaos chaos-short
chaos: all node ## six sidekeys on one store, forty programs, keepers killed and stopped, for CHAOS_SECONDS (300) each (CHAOS_STORE=file or redis for one)
	@CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_STORE=$(or $(CHAOS_STORE),all) $(call pytest,$(BUILD)) -s tests/e2e/test_chaos.py

chaos-short:
	@$(MAKE) --no-print-directory chaos CHAOS_SECONDS=45

ASAN_E2E := main_job proxy config authority smuggling upstream_tls send_again reload run
asan-e2e: node ## a short end-to-end run of the sanitized program
	@$(SANITIZED) $(BUILD)/asan/sidekey $(BUILD)/asan/libsidekey-preload.so $(BUILD)/asan/tests/fakes/llhttp_reader
	@$(call pytest,$(BUILD)/asan) $(BESIDE) -m "not slow and not release and not world and not serial" $(ASAN_E2E:%=tests/e2e/test_%.py)

asan ubsan: asan-unit asan-e2e ## both sanitizer runs

bench: all node ## what the proxy costs: requests a second, latency, memory
	@for b in $(filter-out %/memory.py,$(wildcard tests/bench/*.py)); do [ ! -e "$$b" ] || BUILD=$(BUILD) SIDEKEY_NODE=$(BUILD)/node $(PYTHON) $$b || exit; done

.PHONY: bench-memory
bench-memory: all ## memory for each of 1,000 idle clients, compared with haproxy on the same OpenSSL: fails over 1.2 times haproxy's
	@BUILD=$(BUILD) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/memory.py --judge

.PHONY: bench-idle
bench-idle: all ## memory for each of 10,000 idle connections, and for a slow reader (IDLE=n for fewer): fails over the target
	@BUILD=$(BUILD) $(PYTHON) tests/bench/idle.py --judge $(IDLE)

# --- fuzzing: clang's libFuzzer, FUZZ_SECONDS each ---
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz: ## each parser against libFuzzer for FUZZ_SECONDS (60)
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang OPT="-O1 -g" SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" \
	    $(addprefix $(BUILD)/fuzz/tests/fuzz/,$(FUZZERS))
	@tests/tools/fuzz $(BUILD)/fuzz $(FUZZ_SECONDS) $(FUZZERS)

fuzz-short:
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(or $(TEST_FUZZ_SECONDS),3)

fuzz-long:
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=30

define fuzz_rule
$(BUILD)/tests/fuzz/$(1): $(BUILD)/tests/fuzz/$(1).o $(call links,tests/fuzz/$(1).c) $(BUILD)/libsidekey.a
	$$(call say,LINK,$$@)
	$$(LINK_TEST) -fsanitize=fuzzer $$(LIBS)
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzz_rule,$(f))))

# --- reading, not running ---
floors: ## checks the house rules: includes, sizes, guards; each rule of docs/http.md and docs/refresh-rules.md has a test, and each cited page exists
	@$(PYTHON) tests/tools/floors.py
	@$(PYTHON) tests/tools/rules

lint: ## clang's warnings as errors, then cppcheck, shellcheck and man
	@printf '%s\n' $(SRC) | xargs -P $(JOBS) -n 12 clang -fsyntax-only $(filter-out -MMD -MP,$(ALLFLAGS)) $(LLHTTP_INC) $(PKG_CFLAGS)
	@printf '%s\n' $(PRELOAD_SRC) | xargs clang -fsyntax-only $(filter-out -MMD -MP,$(PRELOAD_FLAGS))
	@JOBS=$(JOBS) tests/tools/lint

format: ## fails where clang-format-19 would change something
	@git ls-files '*.c' '*.h' | xargs clang-format-19 --dry-run -Werror

fmt: ## clang-format over the C files that you changed (FILES="a.c b.h" to choose)
	@clang-format-19 -i $(or $(FILES),$(shell git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h'))

help: ## this list
	@sed -nE 's/^([a-z0-9 -]+):[^#=]*## (.*)/\1	\2/p' Makefile tests/rules.mk preload/rules.mk | sort | awk -F'\t' '{ printf "  %-12s %s\n", $$1, $$2 }'
