/*
 * Requests of the kernel, on the in-process transport, to a session on a chain with a diff. The
 * input is a list of requests with any values in them; three things are the kernel's own and not
 * looked at here: a body has the length of its kind, a name ends with a NUL, and a file handle is
 * one that was given and not released.
 *
 * Every request gets one answer, nothing is left in flight, and what is on disk at the end can be
 * recovered.
 */
#include "base/util.h"
#include "fuse/session.h"
#include "fuzz_diff.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <unistd.h>

#define TABLE	    64u
#define REQUESTS    400u /* of an input; directories are released on top */
#define MESSAGE_MAX ((1u << 20) + 4096)

struct input {
	const uint8_t *data;
	size_t len;
};

struct sent {
	uint32_t opcode;
	bool answered;
};

static struct io_engine *io;
static struct session *session;
static uint64_t nodes[TABLE], files[TABLE], dirs[TABLE];
static unsigned node_count, file_count, dir_count;
static struct sent sent[REQUESTS + TABLE];
static unsigned sent_count;
static uint8_t *message;
static size_t message_len;

static uint64_t take(struct input *in, size_t width)
{
	uint8_t bytes[8] = {0};
	size_t n = MIN(width, in->len);

	if (n > 0)
		memcpy(bytes, in->data, n);
	in->data += n;
	in->len -= n;
	return get_le64(bytes);
}

/* ---- answers ---- */

static void add(uint64_t *table, unsigned *count, uint64_t value)
{
	if (*count < TABLE)
		table[(*count)++] = value;
}

static void take_entry(const uint8_t *body, size_t len)
{
	struct fuse_entry_out entry;

	FUZZ_CHECK(len >= sizeof(entry));
	memcpy(&entry, body, sizeof(entry));
	if (entry.nodeid != 0)
		add(nodes, &node_count, entry.nodeid);
}

static void take_handle(const uint8_t *body, size_t len, uint32_t opcode)
{
	struct fuse_open_out open;

	FUZZ_CHECK(len >= sizeof(open));
	memcpy(&open, body, sizeof(open));
	if (opcode == FUSE_OPENDIR)
		add(dirs, &dir_count, open.fh);
	else
		add(files, &file_count, open.fh);
}

static void take_body(uint32_t opcode, const uint8_t *body, size_t len)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		take_entry(body, len);
		break;
	case FUSE_CREATE:
		take_entry(body, len);
		take_handle(body + sizeof(struct fuse_entry_out),
			    len - sizeof(struct fuse_entry_out), opcode);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		take_handle(body, len, opcode);
		break;
	default:
		break;
	}
}

static void take_reply(void *ctx, const struct iovec *iov, int count)
{
	struct fuse_out_header head;
	struct sent *s;
	size_t len = 0;

	FUZZ_CHECK(iov[0].iov_len >= sizeof(head));
	memcpy(&head, iov[0].iov_base, sizeof(head));
	FUZZ_CHECK(head.unique >= 1 && head.unique <= sent_count);
	s = &sent[head.unique - 1];
	FUZZ_CHECK(!s->answered && head.error <= 0 && head.error > -1000);
	s->answered = true;
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	FUZZ_CHECK(len == head.len);
	if (head.error == 0 && count > 1)
		take_body(s->opcode, iov[1].iov_base, iov[1].iov_len);
}

/* ---- requests ---- */

static void begin(uint32_t opcode, uint64_t nodeid)
{
	const struct fuse_in_header head = {.opcode = opcode,
					    .unique = sent_count + 1,
					    .nodeid = nodeid,
					    .uid = 1000,
					    .gid = 1000};

	memcpy(message, &head, sizeof(head));
	message_len = sizeof(head);
}

static void append(const void *data, size_t len)
{
	FUZZ_CHECK(message_len + len <= MESSAGE_MAX);
	memcpy(message + message_len, data, len);
	message_len += len;
}

static void run(void)
{
	while (!io_idle(io))
		(void)io_wait(io, -1);
}

static void send_message(uint32_t opcode)
{
	struct fuse_in_header head;

	memcpy(&head, message, sizeof(head));
	head.len = (uint32_t)message_len;
	memcpy(message, &head, sizeof(head));
	sent[sent_count++] = (struct sent){.opcode = opcode};
	if (session_feed(session, message, message_len) == -EAGAIN) {
		run();
		FUZZ_CHECK(session_feed(session, message, message_len) == 0);
	}
}

static uint64_t take_node(struct input *in)
{
	uint8_t n = (uint8_t)take(in, 1);

	if (n == 0xff)
		return take(in, 8);
	return n == 0 || node_count == 0 ? FUSE_ROOT_ID : nodes[n % node_count];
}

static void append_name(struct input *in)
{
	static const char *const names[] = {"base", "1", "plain", "many", "0003", "link", "a",
					    "b",    "c", "d",	  "",	  ".",	  "..",	  "x/y"};
	uint8_t n = (uint8_t)take(in, 1);
	char name[300] = "";

	if (n == 0xff)
		for (size_t i = 0; i < sizeof(name) - 1; i++)
			name[i] = (char)take(in, 1);
	else if (n >= 0xf0)
		memset(name, 'n', 250u + n % 16);
	else
		(void)snprintf(name, sizeof(name), "%s", names[n % ARRAY_SIZE(names)]);
	append(name, strlen(name) + 1);
}

static uint64_t take_offset(struct input *in)
{
	uint8_t n = (uint8_t)take(in, 1);

	return n == 0xff ? take(in, 8) : (uint64_t)n * 1024 + n % 3;
}

static bool take_handle_of(struct input *in, const uint64_t *table, unsigned count, uint64_t *ret)
{
	uint8_t n = (uint8_t)take(in, 1);

	*ret = count > 0 ? table[n % count] : 0;
	return count > 0;
}

static void body_of_data(struct input *in, uint32_t opcode)
{
	static const uint8_t data[9000];
	struct fuse_write_in write = {0};
	struct fuse_read_in read = {0};
	struct fuse_fallocate_in fallocate = {0};

	if (opcode == FUSE_READ) {
		(void)take_handle_of(in, files, file_count, &read.fh);
		read.offset = take_offset(in);
		read.size = (uint32_t)take_offset(in);
		append(&read, sizeof(read));
	} else if (opcode == FUSE_WRITE) {
		(void)take_handle_of(in, files, file_count, &write.fh);
		write.offset = take_offset(in);
		write.size = (uint32_t)take_offset(in); /* it may claim more than it brings */
		append(&write, sizeof(write));
		append(data, MIN((size_t)write.size, sizeof(data)));
	} else {
		(void)take_handle_of(in, files, file_count, &fallocate.fh);
		fallocate.mode = (uint32_t)take(in, 1);
		fallocate.offset = take_offset(in);
		fallocate.length = take_offset(in);
		append(&fallocate, sizeof(fallocate));
	}
}

/* Bytes as they come. */
static void append_raw(struct input *in, size_t len)
{
	uint8_t bytes[256] = {0};
	size_t n = MIN(len, in->len);

	FUZZ_CHECK(len <= sizeof(bytes));
	if (n > 0)
		memcpy(bytes, in->data, n);
	in->data += n;
	in->len -= n;
	append(bytes, len);
}

static void body_of_names(struct input *in, uint32_t opcode)
{
	const uint64_t dir = opcode == FUSE_RENAME || opcode == FUSE_RENAME2 || opcode == FUSE_LINK
				     ? take_node(in)
				     : 0;
	struct fuse_rename2_in rename = {.newdir = dir};

	if (opcode == FUSE_RENAME2)
		rename.flags = (uint32_t)take(in, 1);
	if (opcode == FUSE_RENAME2)
		append(&rename, sizeof(rename));
	else if (dir != 0)
		append(&dir, sizeof(dir));
	else if (opcode == FUSE_MKNOD)
		append_raw(in, sizeof(struct fuse_mknod_in));
	else if (opcode == FUSE_MKDIR)
		append_raw(in, sizeof(struct fuse_mkdir_in));
	else if (opcode == FUSE_CREATE)
		append_raw(in, sizeof(struct fuse_create_in));
	append_name(in);
	if (opcode == FUSE_RENAME || opcode == FUSE_RENAME2 || opcode == FUSE_SYMLINK)
		append_name(in);
}

static void body_of_attr(struct input *in)
{
	struct fuse_setattr_in attr = {.valid = (uint32_t)take(in, 2) & ~(uint32_t)FATTR_FH};

	attr.size = take_offset(in);
	attr.mode = (uint32_t)take(in, 2);
	attr.mtime = take(in, 1) == 0xff ? take(in, 8) : 5;
	attr.mtimensec = (uint32_t)take(in, 1);
	attr.uid = attr.gid = (uint32_t)take(in, 1);
	append(&attr, sizeof(attr));
}

static void body_of_forget(struct input *in, uint32_t opcode)
{
	struct fuse_forget_in one = {.nlookup = take(in, 1)};
	struct fuse_batch_forget_in batch = {.count = (uint32_t)take(in, 1) % 8};

	if (opcode == FUSE_FORGET) {
		append(&one, sizeof(one));
		return;
	}
	append(&batch, sizeof(batch));
	for (uint32_t i = 0; i < batch.count; i++) {
		struct fuse_forget_one forget = {.nodeid = take_node(in), .nlookup = take(in, 1)};

		append(&forget, sizeof(forget));
	}
}

/* False: there is no handle for it. A released one is not used again. */
static bool body_of_handle(struct input *in, uint32_t opcode)
{
	bool dir = opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS ||
		   opcode == FUSE_RELEASEDIR || opcode == FUSE_FSYNCDIR;
	uint64_t *table = dir ? dirs : files;
	unsigned *count = dir ? &dir_count : &file_count;
	struct fuse_read_in body = {0}; /* the others begin with the handle too, and are shorter */

	if (!take_handle_of(in, table, *count, &body.fh))
		return false;
	if (opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS) {
		body.offset = take(in, 1) == 0xff ? take(in, 8) : take(in, 1);
		body.size = (uint32_t)take(in, 2) * (take(in, 1) == 0xff ? 4096u : 1u);
	}
	append(&body, sizeof(body));
	if (opcode == FUSE_RELEASE || opcode == FUSE_RELEASEDIR) {
		unsigned at = 0;

		while (table[at] != body.fh)
			at++;
		table[at] = table[--*count];
	}
	return true;
}

static bool body(struct input *in, uint32_t opcode)
{
	switch (opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
		if (file_count == 0)
			return false;
		body_of_data(in, opcode);
		return true;
	case FUSE_LOOKUP:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_CREATE:
		body_of_names(in, opcode);
		return true;
	case FUSE_SETATTR:
		body_of_attr(in);
		return true;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		body_of_forget(in, opcode);
		return true;
	case FUSE_RELEASE:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_FSYNC:
		return body_of_handle(in, opcode);
	case FUSE_OPENDIR:
		if (dir_count == TABLE)
			return false;
		append_raw(in, sizeof(struct fuse_open_in));
		return true;
	default:
		/* Of fixed size, or not known. */
		append_raw(in, 64);
		return true;
	}
}

static bool is_answered(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_NOTIFY_REPLY;
}

static void one_request(struct input *in)
{
	static const uint8_t frequent[] = {
		FUSE_LOOKUP,  FUSE_CREATE,   FUSE_OPEN,	      FUSE_READ,       FUSE_WRITE,
		FUSE_SETATTR, FUSE_GETATTR,  FUSE_RENAME2,    FUSE_UNLINK,     FUSE_MKDIR,
		FUSE_RMDIR,   FUSE_LINK,     FUSE_SYMLINK,    FUSE_FALLOCATE,  FUSE_RELEASE,
		FUSE_FSYNC,   FUSE_OPENDIR,  FUSE_READDIRPLUS, FUSE_RELEASEDIR, FUSE_FORGET,
		FUSE_MKNOD,   FUSE_READLINK, FUSE_READDIR,    FUSE_STATFS,     FUSE_RENAME,
		FUSE_ACCESS,  FUSE_FSYNCDIR, FUSE_BATCH_FORGET};
	uint8_t n = (uint8_t)take(in, 1);
	uint32_t opcode = frequent[n % ARRAY_SIZE(frequent)];

	if (n >= 0xf0) {
		run();
		return;
	}
	if (n >= 0xe0)
		opcode = (uint32_t)take(in, 1);
	/* They begin and end a session; and libfuse leaks an interrupt of what is not there. */
	if (opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_INTERRUPT ||
	    opcode == 0)
		return;
	begin(opcode, take_node(in));
	if (body(in, opcode))
		send_message(opcode);
}

/* ---- a session ---- */

static void sync_done(struct overlay_sync *op)
{
	FUZZ_CHECK(op->result == 0);
	op->all = false;
}

static void open_session(struct overlay *ov, struct vfd_cache *vfds)
{
	const struct session_options options = {.store = "store"};
	const struct session_pipe pipe = {.reply = take_reply};
	const struct session_parts parts = {
		.overlay = ov, .chain = fuzz_chain(), .io = io, .vfds = vfds, .run_dirfd = -1};
	const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
					  .minor = FUSE_KERNEL_MINOR_VERSION,
					  .max_readahead = 128 << 10,
					  .flags = ~0u};

	node_count = file_count = dir_count = sent_count = 0;
	FUZZ_CHECK(session_new(&options, NULL, &session) == 0);
	FUZZ_CHECK(session_attach(session, &pipe) == 0);
	FUZZ_CHECK(session_start(session, &parts, NULL) == 0);
	begin(FUSE_INIT, 0);
	append(&init, sizeof(init));
	send_message(FUSE_INIT);
	FUZZ_CHECK(sent[0].answered);
}

/* As the kernel does it, also for a program that is killed. */
static void release_directories(void)
{
	while (dir_count > 0) {
		struct fuse_release_in release = {.fh = dirs[--dir_count]};

		begin(FUSE_RELEASEDIR, FUSE_ROOT_ID);
		append(&release, sizeof(release));
		send_message(FUSE_RELEASEDIR);
	}
}

static void finish(struct overlay *ov)
{
	struct overlay_sync sync = {.all = true, .done = sync_done};
	struct session_stats stats;

	run();
	release_directories();
	overlay_sync(ov, &sync);
	run();
	FUZZ_CHECK(!sync.all);
	session_get_stats(session, &stats);
	FUZZ_CHECK(stats.in_flight == 0);
	for (unsigned i = 0; i < sent_count; i++)
		FUZZ_CHECK(sent[i].answered == is_answered(sent[i].opcode));
	session_free(session);
	/* Files without a name went with their last node. */
	run();
	(void)diff_checkpoint(overlay_diff(ov));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct io_engine_options engine = {.kind = IO_KIND_SYNC};
	struct input in = {.data = data, .len = size};
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	struct fuzz_diff d = {0};

	if (message == NULL) {
		message = malloc(MESSAGE_MAX);
		FUZZ_CHECK(message != NULL && io_engine_new(&engine, NULL, &io) == 0);
	}
	fuzz_diff_reset(true);
	FUZZ_CHECK(vfd_cache_new(io, 16, &vfds) == 0 && bufpool_new(8 << 20, &buffers) == 0);
	FUZZ_CHECK(fuzz_diff_open(NULL, &d) == 0);
	FUZZ_CHECK(overlay_start(d.ov, io, vfds, buffers) == 0);
	open_session(d.ov, vfds);
	while (in.len > 0 && sent_count < REQUESTS)
		one_request(&in);
	finish(d.ov);
	fuzz_diff_close(&d);
	vfd_cache_free(vfds);
	bufpool_free(buffers);
	if (size % 8 == 0) {
		FUZZ_CHECK(fuzz_diff_open(NULL, &d) == 0);
		(void)fuzz_diff_sum(d.ov);
		fuzz_diff_close(&d);
	}
	return 0;
}
