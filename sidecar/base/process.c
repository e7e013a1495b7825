#include "base/process.h"

#include "base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static double resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return -1;
    int got = fscanf(f, "%lu %lu", &size, &resident);
    fclose(f);
    return got == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : -1;
}

static double open_fds(void)
{
    double count = -3; /* ".", "..", and the directory's own */
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Counters of processes that were before in the same place go on; a new one starts at 0. */
static void grow(struct metrics *m, const char *name, double now, double *last)
{
    double *sum = metrics_at(m, "%s", name);
    if (now > *last)
        *sum += now - *last;
    *last = now > *last ? now : *last;
}

void process_meter_init(struct process_meter *p, struct metrics *m)
{
    struct rusage use;
    *p = (struct process_meter){ .metrics = m };
    if (getrusage(RUSAGE_SELF, &use) == 0)
        p->cpu_s = seconds(use.ru_utime) + seconds(use.ru_stime);
}

void process_measure(struct process_meter *p)
{
    struct rusage use;
    double resident = resident_bytes(), fds = open_fds();
    if (getrusage(RUSAGE_SELF, &use) == 0)
        grow(p->metrics, "process_cpu_seconds_total", seconds(use.ru_utime) + seconds(use.ru_stime), &p->cpu_s);
    grow(p->metrics, "sidekey_log_dropped_total", (double)log_dropped(), &p->dropped);
    if (resident >= 0)
        *metrics_at(p->metrics, "process_resident_memory_bytes") = resident;
    if (fds >= 0)
        *metrics_at(p->metrics, "process_open_fds") = fds;
}
