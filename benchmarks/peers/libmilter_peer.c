/* Two filters over libmilter: libmilter_peer noop|bytecount PORT|/PATH */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* noop: every event has a callback, which lets the mail go on. */
static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return SMFIS_CONTINUE;
}
static sfsistat on_hello(SMFICTX *ctx, char *name)
{
    (void)ctx, (void)name;
    return SMFIS_CONTINUE;
}
static sfsistat on_address(SMFICTX *ctx, char **arguments)
{
    (void)ctx, (void)arguments;
    return SMFIS_CONTINUE;
}
static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    (void)ctx, (void)name, (void)value;
    return SMFIS_CONTINUE;
}
static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t size)
{
    (void)ctx, (void)data, (void)size;
    return SMFIS_CONTINUE;
}
static sfsistat on_plain(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

/* bytecount: adds X-Message-Size. The count is the connection's private data. */
static sfsistat count_mail(SMFICTX *ctx, char **arguments)
{
    size_t *count = smfi_getpriv(ctx);
    (void)arguments;
    if (!count && !(count = malloc(sizeof *count)))
        return SMFIS_TEMPFAIL;
    *count = 0;
    smfi_setpriv(ctx, count);
    return SMFIS_CONTINUE;
}
static sfsistat count_body(SMFICTX *ctx, unsigned char *data, size_t size)
{
    (void)data;
    *(size_t *)smfi_getpriv(ctx) += size;
    return SMFIS_CONTINUE;
}
static sfsistat count_end(SMFICTX *ctx)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", *(size_t *)smfi_getpriv(ctx));
    smfi_addheader(ctx, "X-Message-Size", text);
    return SMFIS_ACCEPT;
}
static sfsistat count_close(SMFICTX *ctx)
{
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc noop = {
        .xxfi_name = "noop", .xxfi_version = SMFI_VERSION,
        .xxfi_connect = on_connect, .xxfi_helo = on_hello, .xxfi_envfrom = on_address,
        .xxfi_envrcpt = on_address, .xxfi_data = on_plain, .xxfi_header = on_header,
        .xxfi_eoh = on_plain, .xxfi_body = on_body, .xxfi_eom = on_plain,
    };
    struct smfiDesc bytecount = {
        .xxfi_name = "bytecount", .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_ADDHDRS,
        .xxfi_envfrom = count_mail, .xxfi_body = count_body, .xxfi_eom = count_end,
        .xxfi_close = count_close,
    };
    char where[256];

    if (argc != 3)
        return 2;
    snprintf(where, sizeof where, argv[2][0] == '/' ? "unix:%s" : "inet:%s@127.0.0.1", argv[2]);
    if (smfi_setconn(where) || smfi_setbacklog(4096) ||
        smfi_register(strcmp(argv[1], "noop") ? bytecount : noop))
        return 1;
    return smfi_main();
}
