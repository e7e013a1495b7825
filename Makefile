# sidekey: make | demo | test | help.  Quiet unless V=1.  Everything that is made goes to build/.
VERSION  := 0.1.0
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= cc
PKG_CONFIG ?= pkg-config
BUILD    ?= build
V        ?= 0
Q        := $(if $(filter 1,$(V)),,@)
say       = @printf '  %-7s %s\n' $(1) $(2)
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# What a goal needs is looked for before anything is made; tests/tools/deps has the list.  Nothing is installed here: what is missing is named with
# the command that installs it, and make ends.  `make demo`, `make test`, `make test-world` and `make deps` install it first, as a step of their own.
NO_DEPS  := clean help deb deps floors uninstall demo test test-world
NEEDS    := $(sort $(foreach g,$(filter-out $(NO_DEPS),$(or $(MAKECMDGOALS),all)),$(if $(filter all install tree sbom dist $(BUILD)/sidekey $(BUILD)/%.so $(BUILD)/%.a,$g),build,$(if \
    $(filter unit sim asan-unit torture% programs $(BUILD)/tests/unit/%,$g),unit,$(if $(filter lint format fmt,$g),lint,$(if $(filter %-world %-world-serial model,$g),world,$(if $(filter bench bench-memory,$g),bench,$(if $(filter demo-run,$g),demo,test))))))))
ifneq ($(NEEDS),)
ifeq ($(MAKELEVEL),0)
ifneq ($(shell tests/tools/deps $(NEEDS) && echo there),there)
$(error what sidekey needs is missing: see above)
endif
endif
endif

PKGS     := openssl libcurl jansson zlib libcares yaml-0.1 $(if $(wildcard sidecar/http/h2.c),libnghttp2) $(if $(wildcard sidecar/refresh/redis/store_redis.c),hiredis)
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)

# Warnings are errors in the plain builds; the sanitizers make gcc warn of paths that are none.
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla $(if $(SAN),,-Werror)
HARDEN   := -fstack-protector-strong -fPIE $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3) $(if $(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),-fcf-protection)
OPT      ?= -O2 -g
SAN      ?=
CFLAGS   ?=
# For packagers: -ffile-prefix-map=…, for every object, the preload library's too.
PREFIX_MAP ?=
ALLFLAGS  = -std=gnu17 -D_GNU_SOURCE -DSIDEKEY_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(HARDEN) $(SAN) -MMD -MP -Isidecar -I. $(PREFIX_MAP) $(CFLAGS)
LDHARD   := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

# llhttp: a library on Debian 13, C sources on Debian 12 (package node-llhttp).
LLHTTP_SRC := $(if $(shell $(PKG_CONFIG) --exists libllhttp 2>/dev/null && echo y),,$(wildcard /usr/share/llhttp/llhttp.c /usr/share/llhttp/api.c /usr/share/llhttp/http.c))
LLHTTP_INC := $(if $(LLHTTP_SRC),-isystem /usr/share/include/llhttp -isystem /usr/share/include)
LLHTTP_LIB := $(if $(LLHTTP_SRC),,$(shell $(PKG_CONFIG) --libs libllhttp 2>/dev/null))
LIBS     := $(PKG_LIBS) -lev $(LLHTTP_LIB)

SRC      := $(sort $(wildcard sidecar/*/*.c sidecar/*/*/*.c certs/*.c))
OBJ      := $(patsubst %.c,$(BUILD)/%.o,$(SRC)) $(patsubst /usr/share/llhttp/%.c,$(BUILD)/llhttp/%.o,$(LLHTTP_SRC))
# Text files that are part of the program.
K8S_FILES := $(sort $(wildcard sidecar/app/cmd/k8s/*))
PAGE_FILES := sidecar/proxy/page/status.html
PRESET_FILES := $(sort $(wildcard presets/*.yaml))
EMBEDDED  := $(addprefix $(BUILD)/embedded/,k8s_templates status_page preset_files)
OBJ      += $(EMBEDDED:=.o)
LIBOBJ   := $(filter-out $(BUILD)/sidecar/app/main.o,$(OBJ))
PRELOAD_SRC := $(wildcard preload/*.c)

.PHONY: all
all: $(BUILD)/sidekey $(BUILD)/libsidekey-preload.so ## the program and the preload library (default)

$(BUILD)/sidekey: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(SAN) $(LDHARD) -o $@ $^ $(LIBS)

$(BUILD)/libsidekey.a: $(LIBOBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/embedded/k8s_templates.c: $(K8S_FILES)
$(BUILD)/embedded/status_page.c: $(PAGE_FILES)
$(BUILD)/embedded/preset_files.c: $(PRESET_FILES)
$(EMBEDDED:=.c): $(BUILD)/embedded/%.c: sidecar/app/embed
	@mkdir -p $(@D)
	$(call say,EMBED,$@)
	$(Q)sidecar/app/embed $* $(filter-out $<,$^) >$@

$(BUILD)/embedded/%.o: $(BUILD)/embedded/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(filter-out -Wpedantic,$(ALLFLAGS)) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALLFLAGS) $(LLHTTP_INC) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -O2 -g -fPIE -DLLHTTP_STRICT_MODE=1 $(PREFIX_MAP) $(SAN) $(LLHTTP_INC) -c -o $@ $<

-include $(OBJ:.o=.d)
include tests/rules.mk preload/rules.mk

# --- putting it in its place ---
DOC      := $(DESTDIR)$(PREFIX)/share/doc/sidekey
MAN      := $(wildcard docs/*.[1-8])
.PHONY: install uninstall dist clean
install: all ## PREFIX=/usr/local, DESTDIR= for packagers
	$(Q)install -D -m 755 $(BUILD)/sidekey $(DESTDIR)$(PREFIX)/bin/sidekey
	$(Q)install -D -m 755 $(BUILD)/libsidekey-preload.so $(DESTDIR)$(PREFIX)/lib/sidekey/libsidekey-preload.so
	$(Q)for page in $(MAN); do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit; done
	$(Q)install -d $(DOC) && install -m 644 README.md LICENSE SECURITY.md $(filter-out docs/README.md,$(wildcard docs/*.md docs/*.json)) $(DOC)/
	$(Q)install -D -m 644 -t $(DOC)/examples examples/systemd/sidekey.service examples/systemd/sidekey.socket
	$(Q)install -D -m 644 -t $(DOC)/examples/user examples/systemd/user/sidekey.service
	$(Q)install -D -m 644 -t $(DOC)/examples/sidekey.service.d examples/systemd/sidekey.service.d/notify-reload.conf
	$(Q)install -d $(DESTDIR)$(PREFIX)/share/sidekey/presets && install -m 644 $(PRESET_FILES) $(DESTDIR)$(PREFIX)/share/sidekey/presets/
	$(Q)install -D -m 644 docs/completions/sidekey.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sidekey
	$(Q)install -D -m 644 docs/completions/_sidekey $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sidekey
	$(Q)install -D -m 644 docs/completions/sidekey.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sidekey.fish

uninstall: ## removes what install installed
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/sidekey $(addprefix $(DESTDIR)$(PREFIX)/share/,$(foreach m,$(MAN),man/man$(patsubst .%,%,$(suffix $(m)))/$(notdir $(m)))) \
	    $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions/sidekey zsh/site-functions/_sidekey fish/vendor_completions.d/sidekey.fish)
	$(Q)rm -rf $(DESTDIR)$(PREFIX)/lib/sidekey $(DESTDIR)$(PREFIX)/share/sidekey $(DOC)

# The same in one folder, with its own loader and libraries, for any image (TREE=DIR, which must not be there yet).
TREE     ?= $(BUILD)/tree/opt/sidekey
.PHONY: tree
tree: all ## build/tree/opt/sidekey: sidekey with its own loader and libraries, for images of any kind (TREE=DIR)
	$(Q)rm -rf $(BUILD)/tree && mkdir -p $(dir $(TREE)) && BUILD=$(BUILD) CC="$(CC)" packaging/tree $(TREE)

.PHONY: deb sbom
sbom: all ## build/sidekey-VERSION.spdx.json: what the program is made of
	$(Q)packaging/sbom $(BUILD)/sidekey >$(BUILD)/sidekey-$(VERSION).spdx.json

deb: ## build/deb/*.deb, by debhelper (DEB_VERSION=, DEB_ARGS= for dpkg-buildpackage)
	$(Q)BUILD=$(BUILD) packaging/deb

dist: sbom ## build/sidekey-VERSION.tar.gz from HEAD, its SBOM, and SHA256SUMS of both
	$(Q)git archive --prefix=sidekey-$(VERSION)/ HEAD | gzip -9n >$(BUILD)/sidekey-$(VERSION).tar.gz
	$(Q)cd $(BUILD) && sha256sum sidekey-$(VERSION).tar.gz sidekey-$(VERSION).spdx.json >SHA256SUMS

clean: ## removes build/
	$(Q)rm -rf $(BUILD)
