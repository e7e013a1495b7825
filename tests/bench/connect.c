/* tests/bench/connect.c: `connect ADDRESS PORT COUNT [NAME]` connects COUNT times, one after the other, and prints the
 * nanoseconds of processor time for one socket(), connect() and close(): on loopback that is all of it.  NAME: looked
 * up once before, and its address takes the place of ADDRESS. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    struct linger reset = { 1, 0 }; /* no port stays in TIME_WAIT */
    if (argc < 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return 2;
    to.sin_port = htons((uint16_t)atoi(argv[2]));
    int count = atoi(argv[3]);
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *ai;
    if (argc > 4) {
        if (getaddrinfo(argv[4], argv[2], &hints, &ai) != 0)
            return 1;
        memcpy(&to, ai->ai_addr, sizeof to);
    }
    double spent = 0;
    for (int i = 0; i < count; i++) {
        double began = now();
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
            perror("connect");
            return 1;
        }
        spent += now() - began;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        began = now();
        close(fd);
        spent += now() - began;
    }
    printf("%.0f\n", spent / count);
    return 0;
}
