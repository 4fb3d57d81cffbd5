/*
 * cmd/status_print.h: the figures of a mount, as the daemon answers them (JSON), in other forms.
 */
#ifndef CMD_STATUS_PRINT_H
#define CMD_STATUS_PRINT_H

#include <cjson/cJSON.h>

void status_print_text(const cJSON *status);
/* One sample a line, with the mount point as label; names begin with pgoverlay_. */
void status_print_prometheus(const cJSON *status);

#endif
