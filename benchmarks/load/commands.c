/* What the MTA says next, as Postfix says it to one milter. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static char *room(conn *c, size_t n)
{
    if (c->out_len + n > c->out_cap) {
        size_t cap = c->out_cap ? c->out_cap : 4096;
        while (cap < c->out_len + n)
            cap *= 2;
        c->out = realloc(c->out, cap);
        if (!c->out)
            die("out of memory");
        c->out_cap = cap;
    }
    return c->out + c->out_len;
}
static void put32(char *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }
uint32_t get32(const char *p) { uint32_t v; memcpy(&v, p, 4); return ntohl(v); }

static size_t begin(conn *c, int cmd)
{
    size_t at = c->out_len;
    char *p = room(c, 5);
    p[4] = (char)cmd;
    c->out_len += 5;
    return at;
}
static void add(conn *c, const void *s, size_t n)
{
    memcpy(room(c, n), s, n);
    c->out_len += n;
}
static void add_z(conn *c, const char *s) { add(c, s, strlen(s) + 1); }
static void end(conn *c, size_t at) { put32(c->out + at, (uint32_t)(c->out_len - at - 4)); }

/* Macros by stage, as Postfix sends them by default on a plaintext session. */
typedef struct { const char *name, *value; } macro;     /* value NULL: queue id */
static const macro macs[NSTAGE][8] = {
    [ST_CONNECT] = {{"j", "mx.example.org"}, {"{daemon_name}", "mx.example.org"},
                    {"{daemon_addr}", "192.0.2.25"}, {"v", "Postfix 3.7.11"},
                    {"_", "client.example.net [198.51.100.7]"}},
    [ST_MAIL] = {{"{mail_addr}", "sender@example.net"}, {"{mail_host}", "example.net"},
                 {"{mail_mailer}", "smtp"}},
    [ST_RCPT] = {{"i", NULL}, {"{rcpt_addr}", "rcpt@example.org"},
                 {"{rcpt_host}", "example.org"}, {"{rcpt_mailer}", "local"}},
    [ST_DATA] = {{"i", NULL}},
    [ST_EOM] = {{"i", NULL}},
    [ST_EOH] = {{"i", NULL}},
};

static void put_macros(conn *c, int stage, int cmd)
{
    size_t at = begin(c, 'D');
    char ch = (char)cmd;
    add(c, &ch, 1);
    for (int k = 0; k < 8 && macs[stage][k].name; k++) {
        if (!(c->stage_mask[stage] >> k & 1))
            continue;
        add_z(c, macs[stage][k].name);
        if (macs[stage][k].value)
            add_z(c, macs[stage][k].value);
        else {                                  /* a queue id, fresh per message */
            char q[16];
            uint64_t v = 0x4A7F3C21Bull + c->msgno * 0x9E3779B1ull;
            for (int i = 0; i < 10; i++, v >>= 4)
                q[i] = "0123456789ABCDEF"[v & 15];
            q[10] = 0;
            add(c, q, 11);
        }
    }
    end(c, at);
}

static const struct { const char *name, *value; } hdrs[] = {
    {"Received", "from client.example.net (client.example.net [198.51.100.7])\n\tby relay.example.net (Postfix) with ESMTPS id 4RkT2x0Vqz9s0\n\tfor <rcpt@example.org>; Tue, 14 Nov 2023 22:13:20 +0000 (UTC)"},
    {"DKIM-Signature", "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=2023;\n\tt=1700000000; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;\n\th=From:To:Subject:Date; b=V2lyZSBmb3JtYXQgc2FtcGxlIHNpZ25hdHVyZSBibG9iIG5vdCByZWFs"},
    {"From", "\"A. Sender\" <sender@example.net>"},
    {"To", "\"B. Recipient\" <rcpt@example.org>"},
    {"Subject", "Quarterly figures and a few notes for the meeting"},
    {"Date", "Tue, 14 Nov 2023 22:13:20 +0000"},
    {"Message-ID", "<20231114221320.4A7F3C21B@relay.example.net>"},
    {"MIME-Version", "1.0"},
    {"Content-Type", "text/plain; charset=utf-8"},
    {"Content-Transfer-Encoding", "7bit"},
};
#define NHDRS (int)(sizeof hdrs / sizeof hdrs[0])

/* Appends what comes next; sets c->waiting when a reply is due.
   Returns 0 when there is nothing more to send just now. */
int emit_next(conn *c)
{
    size_t at;
    uint32_t p = c->steps;

    switch (c->step) {
    case S_OPTNEG: {
        char b[12];
        at = begin(c, 'O');
        put32(b, OFFER_VERSION), put32(b + 4, OFFER_ACTIONS), put32(b + 8, OFFER_STEPS);
        add(c, b, 12);
        end(c, at);
        c->waiting = 'O';
        c->step = S_CONN;
        return 1;
    }
    case S_CONN:
        c->step = S_HELO;
        put_macros(c, ST_CONNECT, 'C');
        if (p & P_NOCONNECT)
            return 1;
        at = begin(c, 'C');
        add_z(c, "client.example.net");
        add(c, "4\xc3\x50", 3);
        add_z(c, "198.51.100.7");
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_CONN))
            c->waiting = 'C';
        return 1;
    case S_HELO:
        c->step = S_MAIL;
        put_macros(c, ST_HELO, 'H');
        if (p & P_NOHELO)
            return 1;
        at = begin(c, 'H');
        add_z(c, "client.example.net");
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_HELO))
            c->waiting = 'H';
        return 1;
    case S_MAIL:
        if (opt.idle > 0 && !stopping) {
            if (!c->idle) {
                c->idle = 1;
                idle_up++;
            }
            return 0;
        }
        if (c->msgs >= opt.msgs || stopping) {
            c->step = S_QUIT;
            return 1;
        }
        c->msgno = started++;
        c->msgs++;
        c->got_check = 0;
        c->index = 0;
        c->body_size = c->body_left =
            opt.body + (opt.jitter ? (long)(c->msgno % (uint64_t)opt.jitter) : 0);
        c->t_msg = now_ns();
        c->step = S_RCPT;
        put_macros(c, ST_MAIL, 'M');
        if (p & P_NOMAIL)
            return 1;
        at = begin(c, 'M');
        add_z(c, "<sender@example.net>");
        add_z(c, "SIZE=20480");
        add_z(c, "BODY=8BITMIME");
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_MAIL))
            c->waiting = 'M';
        return 1;
    case S_RCPT:
        if (c->index >= opt.rcpts) {
            c->step = S_DATA;
            return 1;
        }
        c->index++;
        put_macros(c, ST_RCPT, 'R');
        if (p & P_NORCPT)
            return 1;
        at = begin(c, 'R');
        add_z(c, "<rcpt@example.org>");
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_RCPT))
            c->waiting = 'R';
        return 1;
    case S_DATA:
        c->step = S_HDR;
        c->index = 0;
        put_macros(c, ST_DATA, 'T');
        if (p & P_NODATA)
            return 1;
        at = begin(c, 'T');
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_DATA))
            c->waiting = 'T';
        return 1;
    case S_HDR:
        if ((p & P_NOHDRS) || c->index >= opt.headers) {
            c->step = S_EOH;
            return 1;
        }
        put_macros(c, ST_EOH, 'L');
        at = begin(c, 'L');
        add_z(c, hdrs[c->index % NHDRS].name);
        if (p & P_HDR_LEADSPC)
            add(c, " ", 1);
        add_z(c, hdrs[c->index % NHDRS].value);
        end(c, at);
        c->index++;
        COUNT(events);
        if (!(p & P_NR_HDR))
            c->waiting = 'L';
        return 1;
    case S_EOH:
        c->step = S_BODY;
        if (p & P_NOEOH)
            return 1;
        put_macros(c, ST_EOH, 'N');
        at = begin(c, 'N');
        end(c, at);
        COUNT(events);
        if (!(p & P_NR_EOH))
            c->waiting = 'N';
        return 1;
    case S_BODY: {
        if ((p & P_NOBODY) || c->body_left <= 0) {
            c->step = S_EOM;
            return 1;
        }
        uint32_t n = c->body_left > (long)CHUNK ? CHUNK : (uint32_t)c->body_left;
        put_macros(c, ST_EOM, 'B');
        at = begin(c, 'B');
        put32(c->out + at, n + 1);
        c->tail_len = n;                        /* written from body_data */
        c->tail_off = 0;
        c->body_left -= n;
        COUNT(events);
        COUNTN(bytes, n);
        if (!(p & P_NR_BODY))
            c->waiting = 'B';
        return 1;
    }
    case S_EOM:
        c->step = S_MSGEND;
        put_macros(c, ST_EOM, 'E');
        at = begin(c, 'E');
        end(c, at);
        COUNT(events);
        c->waiting = 'E';
        return 1;
    case S_MSGEND:
        at = begin(c, 'A');
        end(c, at);
        c->step = S_MAIL;
        return 1;
    case S_QUIT:
        at = begin(c, 'A');
        end(c, at);
        at = begin(c, 'Q');
        end(c, at);
        c->step = S_CLOSE;
        return 1;
    case S_CLOSE:
        break;
    }
    return 0;
}


/* Which of a stage's macros a list of names asks for, as bits. */
uint32_t wanted_macros(int stage, const char *names, const char *names_end)
{
    uint32_t mask = 0;
    for (const char *q = names; q < names_end;) {
        while (q < names_end && (*q == ' ' || *q == ','))
            q++;
        const char *word = q;
        while (q < names_end && *q != ' ' && *q != ',')
            q++;
        for (int k = 0; k < 8 && macs[stage][k].name; k++)
            if (strlen(macs[stage][k].name) == (size_t)(q - word) &&
                memcmp(macs[stage][k].name, word, (size_t)(q - word)) == 0)
                mask |= 1u << k;
    }
    return mask;
}
