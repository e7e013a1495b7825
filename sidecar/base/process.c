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

void process_measure(struct metrics *m)
{
    struct rusage use;
    double resident = resident_bytes(), fds = open_fds();
    if (getrusage(RUSAGE_SELF, &use) == 0)
        *metrics_at(m, "process_cpu_seconds_total") = seconds(use.ru_utime) + seconds(use.ru_stime);
    *metrics_at(m, "sidekey_log_dropped_total") = (double)log_dropped();
    if (resident >= 0)
        *metrics_at(m, "process_resident_memory_bytes") = resident;
    if (fds >= 0)
        *metrics_at(m, "process_open_fds") = fds;
}
