/* base/embedded.h: text files of the source tree that are part of the program (made by sidecar/app/embed). */
#ifndef SIDEKEY_BASE_EMBEDDED_H
#define SIDEKEY_BASE_EMBEDDED_H

struct embedded_file {
    const char *name, *text;
};

/* sidecar/app/cmd/k8s/: templates of "sidekey k8s"; a NULL name ends the list. */
extern const struct embedded_file k8s_templates[];
/* sidecar/proxy/page/: the status page, see proxy/admin_page.h. */
extern const struct embedded_file status_page[];
/* presets/: providers as data, see app/config/preset.h. */
extern const struct embedded_file preset_files[];

#endif
