// Faults and errno names.
#include "base/err.h"

#include <errno.h>
#include <string.h>

int
bk_fault_set(struct bk_fault *fault, int status, const char *why)
{
    fault->status = status;
    fault->why = why;
    return -EPROTO;
}

const char *
bk_err_name(int error)
{
    const char *name = strerrorname_np(error < 0 ? -error : error);
    return name ? name : "E?";
}
