/* Latencies in slots of equal ratio: bounded memory, at most 0.8 % off. */
#include <stdio.h>

#include "load.h"

static unsigned slot_of(uint64_t v)
{
    if (v < SUB)
        return (unsigned)v;
    int e = 63 - __builtin_clzll(v);            /* v in [2^e, 2^(e+1)) */
    unsigned s = (unsigned)((e - 6) * SUB + ((v >> (e - 7)) & (SUB - 1)));
    return s < HSIZE ? s : HSIZE - 1;
}

static double slot_middle(unsigned s)
{
    if (s < SUB)
        return s;
    int e = (int)(s / SUB) + 6;
    uint64_t low = (1ull << e) + ((uint64_t)(s % SUB) << (e - 7));
    return (double)low + (double)(1ull << (e - 7)) / 2;
}

void hist_add(hist *h, uint64_t ns)
{
    h->n++;
    if (ns > h->max)
        h->max = ns;
    h->slot[slot_of(ns)]++;
}

static double percentile(const hist *h, double p)
{
    if (h->n == 0)
        return 0;
    uint64_t want = (uint64_t)(p * (double)h->n), seen = 0;
    if (want >= h->n)
        want = h->n - 1;
    for (unsigned i = 0; i < HSIZE; i++) {
        seen += h->slot[i];
        if (seen > want)
            return slot_middle(i) / 1000.0;
    }
    return (double)h->max / 1000.0;
}

void hist_print(const char *name, const hist *h)
{
    printf(", \"%s\": {\"n\": %llu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
           (unsigned long long)h->n, percentile(h, .50), percentile(h, .90), percentile(h, .99),
           (double)h->max / 1000.0);
}
