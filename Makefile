# sidekey: make | demo | test | help.  Quiet unless V=1.  Everything that is made goes to build/.
VERSION  := 0.1.0
PREFIX   ?= /usr/local
CC       ?= cc
BUILD    ?= build
V        ?= 0
Q        := $(if $(filter 1,$(V)),,@)
say       = @printf '  %-7s %s\n' $(1) $(2)

PKGS     := libev-or-header openssl libcurl jansson libcares yaml-0.1
pkg       = $(shell pkg-config $(1) $(filter-out libev-or-header,$(PKGS)) 2>/dev/null)

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Werror
HARDEN   := -fstack-protector-strong -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2) $(if $(filter x86_64,$(shell uname -m)),-fcf-protection)
OPT      ?= -O2 -g
SAN      ?=
CFLAGS   ?=
ALLFLAGS  = -std=gnu17 -D_GNU_SOURCE -DSIDEKEY_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(HARDEN) $(SAN) -MMD -MP -Isidecar -I. $(CFLAGS)
LDHARD   := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

# llhttp: a library on Debian 13, C sources on Debian 12 (package node-llhttp).
LLHTTP_SRC := $(if $(shell pkg-config --exists libllhttp 2>/dev/null && echo y),,$(wildcard /usr/share/llhttp/llhttp.c /usr/share/llhttp/api.c /usr/share/llhttp/http.c))
LLHTTP_INC := $(if $(LLHTTP_SRC),-isystem /usr/share/include/llhttp -isystem /usr/share/include)
LLHTTP_LIB := $(if $(LLHTTP_SRC),,$(shell pkg-config --libs libllhttp 2>/dev/null))
LIBS      = $(call pkg,--libs) -lev $(LLHTTP_LIB)

SRC      := $(wildcard sidecar/base/*.c sidecar/crypto/*.c sidecar/net/*.c sidecar/http/*.c sidecar/refresh/*.c sidecar/refresh/grant/*.c sidecar/proxy/*.c sidecar/app/*.c certs/*.c)
OBJ      := $(patsubst %.c,$(BUILD)/%.o,$(SRC)) $(patsubst /usr/share/llhttp/%.c,$(BUILD)/llhttp/%.o,$(LLHTTP_SRC))
LIBOBJ   := $(filter-out $(BUILD)/sidecar/app/main.o,$(OBJ))
PRELOAD_SRC := $(wildcard preload/*.c)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all
all: $(BUILD)/sidekey $(BUILD)/libsidekey-preload.so

$(BUILD)/sidekey: $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(SAN) $(LDHARD) -o $@ $^ $(LIBS)

$(BUILD)/libsidekey.a: $(LIBOBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALLFLAGS) $(LLHTTP_INC) $(call pkg,--cflags) -c -o $@ $<

$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -fPIE $(SAN) $(LLHTTP_INC) -c -o $@ $<

-include $(OBJ:.o=.d)
include tests/rules.mk preload/rules.mk
