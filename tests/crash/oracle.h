/*
 * tests/crash/oracle.h: what may be found after a power cut.
 *
 * The oracle keeps every version of the tree that a workload went through: names, sizes, bytes. A
 * version may be found once the trace has reached its start; it must be found (or a later one) once
 * an fsync that covers it has returned.
 *
 * Names: the tree is one of the versions, whole (D4: rename and unlink are atomic; names are
 * committed in order). Content: each sector is what one of the allowed versions has there (D2, D3).
 * A truncation is all or nothing: once one is seen, nothing that it cut off is seen (D4).
 */
#ifndef CRASH_ORACLE_H
#define CRASH_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_FILES	8u
#define ORACLE_NAMES	12u
#define ORACLE_VERSIONS 48u
#define ORACLE_BYTES	(10u * 8192u) /* no file grows over this */
#define ORACLE_SECTOR	512u
#define ORACLE_SECTORS	(ORACLE_BYTES / ORACLE_SECTOR)

struct oracle_bytes {
	unsigned refs;
	uint8_t data[ORACLE_BYTES];
	uint8_t implied[ORACLE_SECTORS]; /* zeros that no write and no punch made: only a truncation
					    explains them */
};

struct oracle_file {
	uint64_t id;
	uint64_t size;
	unsigned epoch; /* how often it was cut */
	struct oracle_bytes *bytes;
};

struct oracle_name {
	char name[16];
	uint64_t id;
};

struct oracle_version {
	size_t from; /* length of the trace when it began */
	struct oracle_file files[ORACLE_FILES];
	unsigned file_count;
	struct oracle_name names[ORACLE_NAMES];
	unsigned name_count;
	char what[48];
};

struct oracle_ack {
	size_t from; /* length of the trace when fsync returned */
	unsigned version;
	uint64_t id; /* of the file; 0: names only */
	bool all;
};

struct oracle {
	struct oracle_version versions[ORACLE_VERSIONS];
	unsigned count;
	struct oracle_ack acks[ORACLE_VERSIONS];
	unsigned ack_count;
	struct {
		uint64_t id, size;
		unsigned epoch;
	} cuts[ORACLE_VERSIONS];
	unsigned cut_count;
};

/* What a recovery showed. */
struct found_file {
	char name[16];
	uint64_t id, size;
	uint32_t nlink;
	uint8_t *bytes; /* size */
};

struct found {
	int rc; /* of the recovery; what with text */
	char text[200];
	struct found_file files[ORACLE_NAMES];
	unsigned file_count;
	bool damaged; /* more names, larger files than any version has; second recovery changed
			 something; text says what */
};

void oracle_init(struct oracle *o);
void oracle_free(struct oracle *o);

/* A new version, a copy of the last one; at: length of the trace. Changes below are made to the
 * newest version. */
void oracle_step(struct oracle *o, size_t at, const char *what);
void oracle_add_file(struct oracle *o, uint64_t id, const char *name, uint64_t size,
		     const uint8_t *data);
void oracle_write(struct oracle *o, uint64_t id, uint64_t off, uint64_t len, const uint8_t *data);
void oracle_zero(struct oracle *o, uint64_t id, uint64_t off, uint64_t len);
void oracle_truncate(struct oracle *o, uint64_t id, uint64_t size);
void oracle_link(struct oracle *o, uint64_t id, const char *name);
void oracle_unlink(struct oracle *o, const char *name);
void oracle_rename(struct oracle *o, const char *from, const char *to, bool exchange);
uint64_t oracle_size(const struct oracle *o, uint64_t id);
/* Some name of the file in the newest version, or NULL. */
const char *oracle_name_of(const struct oracle *o, uint64_t id);

/* An fsync that was called in that version has returned. id 0: fsyncdir. */
void oracle_ack(struct oracle *o, size_t at, unsigned version, uint64_t id, bool all);

/* Checks what was found after a crash at that length of the trace. False with the reason in why. */
bool oracle_check(const struct oracle *o, size_t at, const struct found *found, char *why,
		  size_t size);

#endif
