/* Sockets: opening, closing, writing all that is due at once, reading replies. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load.h"

static void arm(conn *c, int out)
{
    if (c->want_out == out)
        return;
    struct epoll_event ev = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
    c->want_out = out;
}

/* 1: all written; 0: socket full; -1: connection gone (already dealt with) */
static int flush_out(conn *c)
{
    while (c->out_off < c->out_len || c->tail_off < c->tail_len) {
        struct iovec v[2];
        int n = 0;
        if (c->out_off < c->out_len)
            v[n].iov_base = c->out + c->out_off, v[n++].iov_len = c->out_len - c->out_off;
        if (c->tail_off < c->tail_len)
            v[n].iov_base = body_data + c->tail_off, v[n++].iov_len = c->tail_len - c->tail_off;
        ssize_t w = writev(c->fd, v, n);
        if (w < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN) {
                arm(c, 1);
                return 0;
            }
            if (c->step == S_CLOSE) {           /* already saying goodbye */
                close_conn(c, 1);
                return -1;
            }
            fail(c, "write: %s", strerror(errno));
            return -1;
        }
        size_t k = (size_t)w, head = c->out_len - c->out_off;
        if (k < head)
            c->out_off += k;
        else {
            c->out_off = c->out_len;
            c->tail_off += k - head;
        }
    }
    c->out_len = c->out_off = c->tail_len = c->tail_off = 0;
    arm(c, 0);
    return 1;
}

void pump(conn *c)
{
    for (;;) {
        if (c->waiting) {
            flush_out(c);
            return;
        }
        if (c->step == S_CLOSE) {
            if (flush_out(c) == 1)
                close_conn(c, 1);
            return;
        }
        if (c->tail_len || c->out_len - c->out_off > 32768) {
            if (flush_out(c) != 1)
                return;
        }
        if (!emit_next(c)) {
            flush_out(c);
            return;
        }
        if (c->waiting) {
            c->t_cmd = now_ns();
            c->reads = 0;
        }
    }
}

void open_conn(conn *c)
{
    int one = 1, is_tcp = target.ss_family == AF_INET;
    c->fd = socket(target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (is_tcp)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->state == C_RETRY)
        retrying--;
    c->step = S_OPTNEG;
    c->waiting = c->want_out = c->idle = c->msgs = 0;
    c->out_len = c->out_off = c->tail_len = c->tail_off = c->in_len = 0;
    c->steps = c->actions = 0;
    for (int i = 0; i < NSTAGE; i++)
        c->stage_mask[i] = ~0u;
    int r = connect(c->fd, (struct sockaddr *)&target, target_len);
    if (r < 0 && errno == EAGAIN) {             /* unix socket, full backlog */
        close(c->fd);
        c->fd = -1;
        c->state = C_RETRY;
        retrying++;
        return;
    }
    if (r < 0 && errno != EINPROGRESS) {
        int e = errno;
        c->state = C_UP;
        up++;
        fail(c, "connect: %s", strerror(e));
        return;
    }
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
    c->want_out = 1;
    c->state = C_CONNECTING;
    up++;
}

static int more_to_do(void)
{
    return !stopping && opt.idle <= 0;
}

void close_conn(conn *c, int well)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = C_OFF;
    up--;
    if (c->idle)
        idle_up--;
    if (well)
        COUNT(sessions);
    if (more_to_do())
        open_conn(c);
}

void fail(conn *c, const char *format, ...)
{
    errors++;
    if (errors <= 5) {
        va_list ap;
        va_start(ap, format);
        fprintf(stderr, "load: connection %d, message %d, waiting for reply to '%c': ",
                (int)(c - conns), c->msgs, c->waiting ? c->waiting : '-');
        vfprintf(stderr, format, ap);
        fputc('\n', stderr);
        va_end(ap);
    }
    if (errors >= (uint64_t)opt.max_errors) {
        stopping = 1;
        gave_up = 1;
    }
    close_conn(c, 0);
}

static char rbuf[1 << 18];

static void on_readable(conn *c)
{
    for (;;) {
        char *base = rbuf;
        size_t have = 0;
        if (c->in_len) {
            memcpy(rbuf, c->in, c->in_len);
            have = c->in_len;
        }
        ssize_t r = read(c->fd, rbuf + have, sizeof rbuf - have);
        if (r < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                return;
            fail(c, "read: %s", strerror(errno));
            return;
        }
        if (r == 0) {
            if (c->step == S_CLOSE)
                close_conn(c, 1);
            else if (c->in_len)
                fail(c, "connection closed inside a reply");
            else
                fail(c, "connection closed by the milter");
            return;
        }
        c->reads++;
        size_t n = have + (size_t)r, at = 0;
        int whole = n < sizeof rbuf;
        while (n - at >= 4) {
            uint32_t len = get32(base + at);
            if (len < 1 || len > MAX_REPLY) {
                fail(c, "reply length %u", len);
                return;
            }
            if (n - at - 4 < len)
                break;
            if (on_reply(c, base[at + 4], base + at + 5, len - 1) < 0)
                return;
            at += 4 + len;
        }
        size_t left = n - at;
        if (left >= sizeof rbuf) {
            fail(c, "reply too long for this tool");
            return;
        }
        if (left > c->in_cap) {
            c->in = realloc(c->in, left);
            c->in_cap = left;
        }
        if (left)
            memcpy(c->in, base + at, left);
        c->in_len = left;
        if (!c->waiting) {
            if (left) {
                fail(c, "unsolicited bytes after a reply");
                return;
            }
            pump(c);
            return;
        }
        if (whole)
            return;
    }
}

/* What epoll says of a connection. */
void on_event(conn *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if (c->state == C_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        int e = 0;
        socklen_t n = sizeof e;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n);
        c->state = C_UP;
        if (e) {
            fail(c, "connect: %s", strerror(e));
            return;
        }
        arm(c, 0);
        pump(c);
        return;
    }
    if (events & EPOLLOUT) {
        int r = flush_out(c);
        if (r < 0)
            return;
        if (r == 1 && !c->waiting) {
            pump(c);
            if (c->fd < 0)
                return;
        }
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state == C_UP && c->fd >= 0)
        on_readable(c);
}
