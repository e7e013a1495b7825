# The preload library: libc-neutral, one object for glibc and musl.
$(BUILD)/libsidekey-preload.so: $(PRELOAD_SRC)
	@true
