# The preload library: libc-neutral, one object for glibc and musl.  No fortify (its __*_chk are glibc's alone), no sanitizer, always -O2:
# dlopen()'s last call must be a jump.
PRELOAD_OBJ   := $(PRELOAD_SRC:%.c=$(BUILD)/%.o)
# Atomic operations of arm64 would be calls into libgcc.
MACHINE       := $(shell $(CC) -dumpmachine)
PRELOAD_FLAGS := -std=gnu17 -D_GNU_SOURCE -O2 -g $(WARN) -fPIC -fvisibility=hidden -U_FORTIFY_SOURCE -fstack-protector-strong \
                 $(if $(filter x86_64%,$(MACHINE)),-fcf-protection) $(if $(filter aarch64%,$(MACHINE)),-mno-outline-atomics) $(PREFIX_MAP) -MMD -MP -I.
PRELOAD_LINK  := -shared -nostdlib -Wl,--version-script=preload/exports.map -Wl,--hash-style=both -Wl,-z,relro,-z,now -Wl,-z,noexecstack

$(PRELOAD_OBJ): $(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(PRELOAD_FLAGS) -c -o $@ $<

$(BUILD)/libsidekey-preload.so: $(PRELOAD_OBJ) preload/exports.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(PRELOAD_LINK) -o $@ $(PRELOAD_OBJ)

-include $(PRELOAD_OBJ:.o=.d)
