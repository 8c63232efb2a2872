/* Becomes another program, which is itself, at most so many times a second for so many seconds, and tells how often.
 *
 * storm RATE SECONDS [END NEXT COUNT]: the last three are its own, nanoseconds of the monotonic clock and a count. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    long long rate = atoll(argv[1]), period = 1000000000LL / rate;
    long long end = argc > 5 ? atoll(argv[3]) : now() + atoll(argv[2]) * 1000000000LL;
    long long next = argc > 5 ? atoll(argv[4]) : now();
    long long count = argc > 5 ? atoll(argv[5]) : 0;
    if (now() >= end) {
        printf("%lld\n", count);
        return 0;
    }
    struct timespec until = {next / 1000000000LL, next % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    char words[3][32];
    snprintf(words[0], 32, "%lld", end);
    snprintf(words[1], 32, "%lld", next + period);
    snprintf(words[2], 32, "%lld", count + 1);
    char *again[] = {argv[0], argv[1], argv[2], words[0], words[1], words[2], NULL};
    execv(argv[0], again);
    return 1;
}
