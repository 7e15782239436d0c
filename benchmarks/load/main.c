/* Options, the epoll loop with its clock, and the JSON line that comes of a run. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define GRACE 15000000000ull                    /* for messages in flight at the end */

options opt = {.conns = 1, .msgs = 50, .headers = 10, .rcpts = 2, .max_errors = 5,
               .body = 2048, .seconds = 1, .limit = 120};
counters total, window;
hist h_msg, h_cmd;
conn *conns;
int epoll_fd, up, idle_up, retrying, measuring, stopping, gave_up;
uint64_t started, errors;
char *body_data;
struct sockaddr_storage target;
socklen_t target_len;

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
           ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec) / 1e6;
}

void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(2);
}

static void usage(void)
{
    fputs("usage: load [options] inet:PORT@127.0.0.1|unix:PATH\n"
          "  -c N  connections at once (1)         -m N  messages for each connection (50)\n"
          "  -t S  seconds that are measured (1)   -w S  seconds before that (0)\n"
          "  -T S  hard limit of the whole run (120)\n"
          "  -b N  bytes of body (2048)            -J N  and (number of the message mod N) more\n"
          "  -H N  headers (10)                    -r N  recipients (2)\n"
          "  -X H  expect an added header H with the size of the body\n"
          "  -I S  idle: open the connections, say HELO, hold them S seconds, quit\n"
          "  -e N  give up after N errors (5)\n"
          "Prints one line of JSON; exit status 1 after errors, 3 when time ran out.\n", stderr);
    exit(2);
}

static void parse_target(const char *s)
{
    int port;
    if (sscanf(s, "inet:%d@127.0.0.1", &port) == 1 && port > 0 && port < 65536) {
        struct sockaddr_in *a = (struct sockaddr_in *)&target;
        a->sin_family = AF_INET;
        a->sin_port = htons((uint16_t)port);
        a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        target_len = sizeof *a;
    } else if (strncmp(s, "unix:", 5) == 0) {
        struct sockaddr_un *a = (struct sockaddr_un *)&target;
        a->sun_family = AF_UNIX;
        if (strlen(s + 5) >= sizeof a->sun_path)
            die("expected a path below %zu bytes, got %s", sizeof a->sun_path, s + 5);
        strcpy(a->sun_path, s + 5);
        target_len = sizeof *a;
    } else
        die("expected inet:PORT@127.0.0.1 or unix:PATH, got %s", s);
}

static void parse_options(int argc, char **argv)
{
    int o;
    while ((o = getopt(argc, argv, "c:m:t:w:T:b:J:H:r:X:I:e:")) != -1)
        switch (o) {
        case 'c': opt.conns = atoi(optarg); break;
        case 'm': opt.msgs = atoi(optarg); break;
        case 't': opt.seconds = atof(optarg); break;
        case 'w': opt.warm = atof(optarg); break;
        case 'T': opt.limit = atof(optarg); break;
        case 'b': opt.body = atol(optarg); break;
        case 'J': opt.jitter = atol(optarg); break;
        case 'H': opt.headers = atoi(optarg); break;
        case 'r': opt.rcpts = atoi(optarg); break;
        case 'X': opt.check = optarg; break;
        case 'I': opt.idle = atof(optarg); break;
        case 'e': opt.max_errors = atoi(optarg); break;
        default: usage();
        }
    if (optind != argc - 1 || opt.conns < 1 || opt.msgs < 1 || opt.body < 0 || opt.headers < 0 ||
        opt.rcpts < 1 || opt.limit <= 0 || opt.seconds <= 0)
        usage();
    parse_target(argv[optind]);
}

static void set_up(void)
{
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    alarm((unsigned)opt.limit + 20);            /* should the loop hang */
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    body_data = malloc(CHUNK);
    conns = calloc((size_t)opt.conns, sizeof *conns);
    if (!body_data || !conns)
        die("out of memory");
    for (unsigned i = 0; i < CHUNK; i++)        /* lines of 76 letters */
        body_data[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('a' + (i * 7 + i / 78) % 26);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < opt.conns; i++) {
        conns[i].fd = -1;
        open_conn(&conns[i]);
    }
}

/* Idle mode: once all are up, hold them for the time, then let them go on to QUIT. */
static void watch_idle(uint64_t t, uint64_t t_start)
{
    static uint64_t until;
    if (!until && idle_up == opt.conns) {
        until = t + (uint64_t)(opt.idle * 1e9);
        printf("{\"idle_ready\": %d, \"seconds\": %.3f}\n", idle_up, (double)(t - t_start) / 1e9);
        fflush(stdout);
    }
    if (until && t >= until && !stopping) {
        stopping = 1;
        for (int i = 0; i < opt.conns; i++)
            if (conns[i].fd >= 0 && conns[i].idle)
                pump(&conns[i]);
    }
}

typedef struct { double wall, cpu, cpu_total; int timed_out; } times;

static times run(void)
{
    uint64_t t_start = now_ns(), t_window = t_start, t_end = 0, grace = 0;
    uint64_t hard = t_start + (uint64_t)(opt.limit * 1e9);
    uint64_t warm = t_start + (uint64_t)(opt.warm * 1e9);
    uint64_t stop = warm + (uint64_t)(opt.seconds * 1e9);
    double cpu_start = cpu_seconds(), cpu_window = cpu_start;
    times result = {.cpu = -1};
    struct epoll_event events[1024];

    measuring = opt.warm <= 0;
    while (up > 0 || retrying > 0) {
        int n = epoll_wait(epoll_fd, events, 1024, retrying ? 1 : 20);
        uint64_t t = now_ns();
        if (t > hard || (grace && t > grace)) {
            result.timed_out = 1;
            break;
        }
        if (opt.idle <= 0 && !measuring && t_end == 0 && t >= warm) {
            measuring = 1;
            t_window = t;
            cpu_window = cpu_seconds();
        }
        if (opt.idle <= 0 && !stopping && t >= stop) {
            stopping = 1;
            measuring = 0;                      /* the tail is not measured */
            t_end = t;
            result.cpu = cpu_seconds() - cpu_window;
            grace = t + GRACE;
        }
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
        if (retrying)
            for (int i = 0; i < opt.conns; i++)
                if (conns[i].state == C_RETRY)
                    open_conn(&conns[i]);
        if (opt.idle > 0)
            watch_idle(t, t_start);
        if (gave_up)
            for (int i = 0; i < opt.conns; i++)
                if (conns[i].fd >= 0)
                    close_conn(&conns[i], 0);
    }
    if (t_end == 0) {
        t_end = now_ns();
        result.cpu = cpu_seconds() - cpu_window;
    }
    result.wall = (double)(t_end - t_window + 1) / 1e9;
    result.cpu_total = cpu_seconds() - cpu_start;
    return result;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    set_up();
    times t = run();
    printf("{\"messages\": %llu, \"sessions\": %llu, \"wall\": %.4f, \"msgs_per_s\": %.1f, "
           "\"events_per_s\": %.1f, \"MB_per_s\": %.2f, \"split\": %llu",
           (unsigned long long)window.messages, (unsigned long long)window.sessions, t.wall,
           (double)window.messages / t.wall, (double)window.events / t.wall,
           (double)window.bytes / t.wall / 1e6, (unsigned long long)window.split);
    hist_print("msg_us", &h_msg);
    hist_print("cmd_us", &h_cmd);
    printf(", \"total_messages\": %llu, \"errors\": %llu, \"timed_out\": %s, \"cpu_share\": %.3f, "
           "\"cpu_total_s\": %.3f}\n",
           (unsigned long long)total.messages, (unsigned long long)errors,
           t.timed_out ? "true" : "false", t.cpu / t.wall, t.cpu_total);
    return errors ? 1 : t.timed_out ? 3 : 0;
}
