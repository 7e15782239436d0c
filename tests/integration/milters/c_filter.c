/* A small filter over Sendmail's libmilter. What it does with a message stands in its X-Ask field:
 *
 *   reject, tempfail, discard, quarantine    what they say, at end of message
 *   reply                                    a reply of its own, with a % in it
 *   edit                                     all modifications that there are
 *
 * Recipients that begin with "bad" are rejected; "close" as sender closes the connection abruptly.
 * Usage: c_filter ADDRESS
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static sfsistat on_mail(SMFICTX *ctx, char **argv) {
    if (strstr(argv[0], "close@") != NULL) exit(3);
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

static sfsistat on_recipient(SMFICTX *ctx, char **argv) {
    return strncmp(argv[0], "<bad", 4) == 0 ? SMFIS_REJECT : SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value) {
    if (strcasecmp(name, "X-Ask") == 0) {
        free(smfi_getpriv(ctx));
        smfi_setpriv(ctx, strdup(value));
    }
    return SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx) {
    char *ask = smfi_getpriv(ctx);
    char *id = smfi_getsymval(ctx, "i");
    if (ask == NULL) ask = "";
    if (strcmp(ask, "reject") == 0) return SMFIS_REJECT;
    if (strcmp(ask, "tempfail") == 0) return SMFIS_TEMPFAIL;
    if (strcmp(ask, "discard") == 0) return SMFIS_DISCARD;
    if (strcmp(ask, "quarantine") == 0) smfi_quarantine(ctx, "looks odd");
    if (strcmp(ask, "reply") == 0) {
        smfi_setreply(ctx, "554", "5.7.1", "100%% no");
        return SMFIS_REJECT;
    }
    if (strcmp(ask, "edit") == 0) {
        smfi_addheader(ctx, "X-Added", id == NULL ? "?" : id);
        smfi_insheader(ctx, 0, "X-Top", "inserted");
        smfi_chgheader(ctx, "Subject", 1, "changed");
        smfi_chgheader(ctx, "X-Gone", 1, NULL);
        smfi_chgfrom(ctx, "<new@example.org>", NULL);
        smfi_delrcpt(ctx, "<bob@example.net>");
        smfi_addrcpt(ctx, "<carol@example.net>");
        smfi_progress(ctx);
        smfi_replacebody(ctx, (unsigned char *)"a new body\r\n", 12);
    }
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx) {
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

static struct smfiDesc filter = {
    .xxfi_name = "c_filter",
    .xxfi_version = SMFI_VERSION,
    .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_DELRCPT |
                  SMFIF_CHGFROM | SMFIF_QUARANTINE,
    .xxfi_envfrom = on_mail,
    .xxfi_envrcpt = on_recipient,
    .xxfi_header = on_header,
    .xxfi_eom = on_end,
    .xxfi_close = on_close,
};

int main(int argc, char **argv) {
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS) {
        fprintf(stderr, "usage: c_filter ADDRESS\n");
        return 2;
    }
    return smfi_main();
}
