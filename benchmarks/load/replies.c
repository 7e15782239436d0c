/* What the milter may answer where, and what comes next after that. */
#include <stdlib.h>
#include <string.h>

#include "load.h"

static int count_z(const char *d, size_t n)     /* NUL-terminated strings in d */
{
    int z = 0;
    if (n && d[n - 1] != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        z += d[i] == 0;
    return z;
}

static int on_optneg(conn *c, const char *d, size_t n)
{
    if (n < 12) {
        fail(c, "short OPTNEG reply (%zu bytes)", n);
        return -1;
    }
    uint32_t ver = get32(d), act = get32(d + 4), pro = get32(d + 8);
    if (ver < 2 || ver > OFFER_VERSION) {
        fail(c, "OPTNEG reply has version %u", ver);
        return -1;
    }
    if (act & ~OFFER_ACTIONS) {
        fail(c, "OPTNEG reply asks for actions not offered: 0x%x", act);
        return -1;
    }
    if (pro & ~OFFER_STEPS) {
        fail(c, "OPTNEG reply asks for steps not offered: 0x%x", pro);
        return -1;
    }
    c->actions = act;
    c->steps = pro;
    for (size_t i = 12; i < n;) {               /* macro lists, if any */
        if (n - i < 5) {
            fail(c, "OPTNEG reply has a cut macro list");
            return -1;
        }
        uint32_t stage = get32(d + i);
        const char *s = d + i + 4, *e = memchr(s, 0, n - i - 4);
        if (!e) {
            fail(c, "OPTNEG macro list without NUL");
            return -1;
        }
        if (stage < NSTAGE && e > s)            /* empty: Postfix keeps its own list */
            c->stage_mask[stage] = wanted_macros((int)stage, s, e);
        i = (size_t)(e - d) + 1;
    }
    return 0;
}

static int msg_done(conn *c, uint64_t t)
{
    if (opt.check && !c->got_check) {
        fail(c, "no header %s was added", opt.check);
        return -1;
    }
    COUNT(messages);
    if (measuring)
        hist_add(&h_msg, t - c->t_msg);
    c->step = S_MSGEND;
    return 0;
}

/* The peers of the benchmark add headers and change nothing else. */
static int on_added_header(conn *c, int reply, const char *d, size_t n)
{
    if (reply != 'h') {
        fail(c, "reply '%c' (0x%02x) at end of message, expected an added header or a verdict", reply, reply & 255);
        return -1;
    }
    if (!(c->actions & ACT_ADDHDRS)) {
        fail(c, "adding headers was not negotiated");
        return -1;
    }
    if (count_z(d, n) != 2 || !d[0]) {
        fail(c, "malformed added header (%zu bytes)", n);
        return -1;
    }
    if (opt.check && strcmp(d, opt.check) == 0) {
        const char *value = d + strlen(d) + 1;
        char *rest;
        long size = strtol(value, &rest, 10);
        if (rest == value || *rest || size != c->body_size) {
            fail(c, "header %s is \"%s\", expected %ld", d, value, c->body_size);
            return -1;
        }
        c->got_check = 1;
    }
    return 0;
}

int on_reply(conn *c, int cmd, const char *d, size_t n)
{
    int w = c->waiting;

    if (!w) {
        fail(c, "unsolicited reply '%c'", cmd);
        return -1;
    }
    if (w == 'O') {
        if (cmd != 'O') {
            fail(c, "reply to OPTNEG is '%c'", cmd);
            return -1;
        }
        if (on_optneg(c, d, n) < 0)
            return -1;
        c->waiting = 0;
        return 0;
    }
    if (cmd == 'p') {
        if (n) {
            fail(c, "progress with data");
            return -1;
        }
        return 0;
    }
    if (w == 'E' && !strchr("cartdy4", cmd))
        return on_added_header(c, cmd, d, n);
    if (strchr("cartds4", cmd)) {
        if (n) {
            fail(c, "reply '%c' with %zu data bytes", cmd, n);
            return -1;
        }
    } else if (cmd == 'y') {
        if (count_z(d, n) != 1 || n < 5 || (d[0] != '4' && d[0] != '5') ||
            d[1] < '0' || d[1] > '9' || d[2] < '0' || d[2] > '9' ||
            (d[3] != ' ' && d[3] != '-')) {
            fail(c, "malformed reply code \"%.*s\"", (int)(n < 60 ? n : 60), d);
            return -1;
        }
    } else {
        fail(c, "reply '%c' (0x%02x) not allowed here", cmd, cmd & 255);
        return -1;
    }

    uint64_t t = now_ns();
    if (measuring)
        hist_add(&h_cmd, t - c->t_cmd);
    if (w == 'E' && c->reads > 1)
        COUNT(split);
    int early = w == 'C' || w == 'H';
    c->waiting = 0;
    switch (cmd) {
    case 'c':
        return w == 'E' ? msg_done(c, t) : 0;
    case 's':
        if (!(c->steps & P_SKIP)) {
            fail(c, "SKIP was not negotiated");
            return -1;
        }
        if (w == 'B')
            c->step = S_EOM;
        else if (w == 'L')
            c->step = S_EOH;
        else if (w == 'R')
            c->step = S_DATA;
        return 0;
    case 'd':
        if (early) {
            fail(c, "DISCARD is not allowed for connect or helo");
            return -1;
        }
        return msg_done(c, t);
    case '4':
        c->step = S_QUIT;
        return 0;
    }
    if (early) {                                /* holds for the whole session */
        c->step = S_QUIT;
        return 0;
    }
    if (w == 'R' && cmd != 'a')                 /* one recipient refused */
        return 0;
    return msg_done(c, t);
}
