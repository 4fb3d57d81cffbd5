/*
 * gen/<g>/state, format 1, little-endian: everything that a mount must know before it reads the
 * journal.
 *
 *	0	char[8]	"pgovstat"
 *	8	u32	version, 1
 *	12	u32	crc32c of the diff's uuid, the header from byte 16 on, and the records
 *	16	u64	sequence of the first group of the journal that goes on from here
 *	24	u64	bytes of records
 *	32	u64	number of records
 *	40		records (record.c): NEXT_ID, names and attributes, BLOCKS of files that differ
 *
 * It is replaced as a whole: written beside, fsynced, renamed, directory fsynced. From the rename
 * on, a mount may find the new one, and with it ignores what the journal holds up to then; so when
 * the rest fails nothing can be appended to the journal any more without the risk that it is never
 * read (*renamed).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define MAGIC	    "pgovstat"
#define VERSION	    1u
#define HEADER_SIZE 40u
#define CRC_FROM    16u
#define NAME	    "state"
#define NAME_TEMP   "state.tmp"

struct encoder {
	struct diff_buffer buffer;
	uint64_t records;
};

static int emit(void *sink, const struct diff_record *record)
{
	struct encoder *enc = sink;

	enc->records++;
	return diff_record_encode(&enc->buffer, record);
}

static int emit_file(struct encoder *enc, const struct diff_file *file)
{
	struct diff_record record = {.type = DIFF_RECORD_BLOCKS,
				     .id = file->id,
				     .size = file->size,
				     .base_limit = file->base_limit,
				     .run_count = file->map.runs};
	_cleanup_free_ struct diff_run *runs = NULL;
	uint32_t pos = 0, n = 0;

	if (file->map.runs > 0) {
		runs = malloc(file->map.runs * sizeof(*runs));
		if (!runs)
			return -ENOMEM;
	}
	while (n < file->map.runs && blockmap_next(&file->map, &pos, &runs[n]))
		n++;
	record.runs = runs;
	return emit(enc, &record);
}

static int emit_files(struct encoder *enc, const struct diff *diff)
{
	int rc = 0;

	for (uint32_t i = 0; i < diff->bucket_count && rc == 0; i++) {
		for (struct diff_file *f = diff->buckets[i]; f && rc == 0; f = f->hash_next)
			if (file_is_recorded(f) && diff->ns->is_named(diff->ns->ctx, f->id))
				rc = emit_file(enc, f);
	}
	return rc;
}

static uint32_t checksum(const struct diff *diff, const uint8_t *data, size_t len)
{
	uint32_t crc = crc32c(0, diff->uuid, sizeof(diff->uuid));

	return crc32c(crc, data + CRC_FROM, len - CRC_FROM);
}

int state_encode(struct diff *diff, uint64_t sequence, struct diff_buffer *ret)
{
	struct diff_record next_id = {.type = DIFF_RECORD_NEXT_ID, .id = diff->next_id};
	struct encoder enc = {0};
	uint8_t *header;
	int rc = diff_buffer_room(&enc.buffer, HEADER_SIZE);

	enc.buffer.len = HEADER_SIZE;
	if (rc == 0)
		rc = emit(&enc, &next_id);
	if (rc == 0 && diff->ns)
		rc = diff->ns->dump(diff->ns->ctx, emit, &enc);
	if (rc == 0 && diff->ns)
		rc = emit_files(&enc, diff);
	if (rc < 0) {
		diff_buffer_free(&enc.buffer);
		return rc;
	}
	header = enc.buffer.data;
	memcpy(header, MAGIC, 8);
	put_le32(header + 8, VERSION);
	put_le64(header + 16, sequence);
	put_le64(header + 24, enc.buffer.len - HEADER_SIZE);
	put_le64(header + 32, enc.records);
	put_le32(header + 12, checksum(diff, header, enc.buffer.len));
	*ret = enc.buffer;
	return 0;
}

static int write_temp(int gen_fd, const struct diff_buffer *state)
{
	int fd = sys_openat(gen_fd, NAME_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600), rc,
	    rc_close;

	if (fd < 0)
		return fd;
	rc = sys_pwrite_full(fd, state->data, state->len, 0);
	if (rc == 0)
		rc = sys_fsync(fd);
	rc_close = sys_close(fd);
	return rc < 0 ? rc : rc_close;
}

int state_write(const struct diff *diff, const struct diff_buffer *state, bool *renamed)
{
	int rc = write_temp(diff->gen_fd, state);

	*renamed = false;
	if (rc < 0) {
		(void)sys_unlinkat(diff->gen_fd, NAME_TEMP,
				   0); /* its space may be what others wait for */
		return rc;
	}
	rc = sys_renameat(diff->gen_fd, NAME_TEMP, diff->gen_fd, NAME);
	*renamed = rc == 0 || rc == -EIO;
	return rc < 0 ? rc : sys_fsync(diff->gen_fd);
}

static int damaged(const struct diff *diff, struct errmsg *e, const char *why)
{
	return errmsg_set(e, -EUCLEAN, "'%s/%s/" NAME "' is damaged: %s", diff->path,
			  diff->generation, why);
}

int state_load(struct diff *diff, struct errmsg *e, char **ret_data, const uint8_t **ret_records,
	       size_t *ret_len)
{
	_cleanup_free_ char *data = NULL;
	const uint8_t *header;
	size_t len;
	int rc = sys_read_file(diff->gen_fd, NAME, SIZE_MAX / 4, &data, &len);

	if (rc == -ENOENT)
		return damaged(diff, e, "it is missing");
	if (rc < 0)
		return errmsg_set(e, rc, "'%s/%s/" NAME "': %s", diff->path, diff->generation,
				  strerror(-rc));
	header = (const uint8_t *)data;
	if (len < HEADER_SIZE || memcmp(header, MAGIC, 8) != 0)
		return damaged(diff, e, "it does not begin as a state");
	if (get_le32(header + 8) != VERSION)
		return damaged(diff, e, "its version is unknown");
	if (get_le64(header + 24) != len - HEADER_SIZE)
		return damaged(diff, e, "it is too short or too long");
	if (get_le32(header + 12) != checksum(diff, header, len))
		return damaged(diff, e, "its checksum does not match");
	diff->journal.sequence = get_le64(header + 16);
	diff->state_size = len;
	*ret_records = header + HEADER_SIZE;
	*ret_len = len - HEADER_SIZE;
	*ret_data = TAKE_PTR(data);
	return 0;
}
