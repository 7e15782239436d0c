/*
 * load - plays the MTA's side of the milter protocol and measures the milter.
 *
 * What all files share lives here: options, the state of a connection, what
 * is counted. histogram.c: latencies; commands.c: what the MTA says next;
 * replies.c: what the milter may answer; connection.c: sockets; main.c:
 * options, the epoll loop, the JSON line.
 *
 * It behaves like Postfix 3.x smtpd and cleanup with one milter:
 *   - negotiates version 6 and offers actions 0x1ff and steps 0x1fffff;
 *   - sends a macro packet before every command, also before one that the
 *     milter asked not to get (but not before masked headers, end of headers
 *     and body);
 *   - keeps everything until it must wait for a reply, then writes once;
 *   - does not wait where the milter negotiated NR_*;
 *   - sends body chunks of 65535 bytes, then the rest, then a bare BODYEOB;
 *   - sends ABORT after each message, ABORT and QUIT at the end of a session.
 * Each connection has one message in flight at a time, in lockstep.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* ---- the protocol's numbers (mfdef.h) ---- */
#define OFFER_VERSION 6u
#define OFFER_ACTIONS 0x1ffu
#define OFFER_STEPS   0x1fffffu

#define ACT_ADDHDRS 0x01u

#define P_NOCONNECT 0x000001u
#define P_NOHELO    0x000002u
#define P_NOMAIL    0x000004u
#define P_NORCPT    0x000008u
#define P_NOBODY    0x000010u
#define P_NOHDRS    0x000020u
#define P_NOEOH     0x000040u
#define P_NR_HDR    0x000080u
#define P_NODATA    0x000200u
#define P_SKIP      0x000400u
#define P_NR_CONN   0x001000u
#define P_NR_HELO   0x002000u
#define P_NR_MAIL   0x004000u
#define P_NR_RCPT   0x008000u
#define P_NR_DATA   0x010000u
#define P_NR_EOH    0x040000u
#define P_NR_BODY   0x080000u
#define P_HDR_LEADSPC 0x100000u

#define CHUNK 65535u
#define MAX_REPLY (1u << 20)

/* ---- latencies: 128 slots for each power of two, so 0.8 % at most ---- */
#define SUB 128
#define HSIZE (SUB * 40)
typedef struct { uint64_t n, max; uint32_t slot[HSIZE]; } hist;
void hist_add(hist *h, uint64_t ns);
void hist_print(const char *name, const hist *h);       /* in microseconds */

/* ---- options ---- */
typedef struct {
    int conns, msgs, headers, rcpts, max_errors;
    long body, jitter;
    double seconds, warm, limit, idle;
    const char *check;                          /* header with the body's size */
} options;
extern options opt;

/* ---- a connection ---- */
enum step { S_OPTNEG, S_CONN, S_HELO, S_MAIL, S_RCPT, S_DATA, S_HDR, S_EOH,
            S_BODY, S_EOM, S_MSGEND, S_QUIT, S_CLOSE };
enum state { C_OFF, C_CONNECTING, C_UP, C_RETRY };
enum stage { ST_CONNECT, ST_HELO, ST_MAIL, ST_RCPT, ST_DATA, ST_EOM, ST_EOH, NSTAGE };

typedef struct {
    int fd, want_out, idle, got_check;
    enum state state;
    enum step step;
    int waiting;                                /* the command that wants a reply, or 0 */
    int index, msgs;
    int reads;                                  /* since the command that waits */
    uint32_t actions, steps;                    /* as negotiated */
    uint32_t stage_mask[NSTAGE];                /* macros wanted, by stage */
    uint64_t t_msg, t_cmd, msgno;
    long body_left, body_size;
    char *out;
    size_t out_len, out_off, out_cap;
    size_t tail_len, tail_off;                  /* bytes of body_data to follow */
    char *in;                                   /* a reply that is not whole */
    size_t in_len, in_cap;
} conn;

/* ---- what is counted ---- */
typedef struct {
    uint64_t messages, sessions, events, bytes;
    uint64_t split;                             /* ends of message answered in several reads */
} counters;

extern counters total, window;                  /* the whole run; the measured part */
extern hist h_msg, h_cmd;
extern conn *conns;
extern int epoll_fd, up, idle_up, retrying, measuring, stopping, gave_up;
extern uint64_t started, errors;
extern char *body_data;
extern struct sockaddr_storage target;
extern socklen_t target_len;

#define COUNTN(f, k) do { total.f += (k); if (measuring) window.f += (k); } while (0)
#define COUNT(f) COUNTN(f, 1)

uint64_t now_ns(void);
uint32_t get32(const char *p);
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

int emit_next(conn *c);                         /* commands.c */
uint32_t wanted_macros(int stage, const char *names, const char *end);
int on_reply(conn *c, int reply, const char *data, size_t n);   /* replies.c: 0, or -1 if closed */
void open_conn(conn *c);                        /* connection.c */
void close_conn(conn *c, int well);
void fail(conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pump(conn *c);
void on_event(conn *c, uint32_t events);

#endif
