/*
 * A long chain: each member is locked and read, whoever else wants its locks, and what is wrong with
 * one of them is what is said.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer_check.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS = 60, CONF = MEMBERS - 5 }; /* CONF: the last one that stores it */

static const char conf[] = "port = 5555\n";

static const char *id_of(unsigned member)
{
	static char id[16];

	(void)snprintf(id, sizeof(id), "T000%02u", member);
	return id;
}

/* Member n has block n, and none of the others. */
static void make_member(unsigned n)
{
	char text[MEMBERS + 1], parent[16];
	struct made_backup b;

	memset(text, '.', MEMBERS);
	memset(text, 'a', n == 0 ? MEMBERS : 0);
	text[MEMBERS] = '\0';
	text[n] = (char)('b' + n % 20);
	make_cluster(&b, id_of(n));
	make_rel(&b, REL, MEMBERS, text);
	if (n <= CONF)
		make_plain(&b, "postgresql.auto.conf", conf, strlen(conf));
	else
		make_plain_unchanged(&b, "postgresql.auto.conf", strlen(conf));
	(void)snprintf(parent, sizeof(parent), "%s", n > 0 ? id_of(n - 1) : "");
	make_end(&b, n > 0 ? "DELTA" : "FULL", n > 0 ? parent : NULL, "OK", NULL);
}

static void setup(void)
{
	unit_setup();
	for (unsigned n = 0; n < MEMBERS; n++)
		make_member(n);
}

static const char *path_of(unsigned member, const char *name)
{
	static char path[80];

	(void)snprintf(path, sizeof(path), "backups/main/%s/%s", id_of(member), name);
	return path;
}

static void assert_lines(unsigned member, const char *wanted)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;
	int rc = sys_read_file(unit_dir, path_of(member, "backup_ro.pid"), 64, &data, &len);

	ck_assert_str_eq(rc == 0 ? data : "", wanted);
	ck_assert_int_eq(sys_fstatat(unit_dir, path_of(member, "backup.pid"), &st, 0), -ENOENT);
}

static void assert_all_lines(bool locked)
{
	char own[16];

	(void)snprintf(own, sizeof(own), "%d\n", (int)getpid());
	for (unsigned n = 0; n < MEMBERS; n++)
		assert_lines(n, locked ? own : "");
}

/* With locks, as a mount does. */
static int open_locked(void)
{
	message.text[0] = '\0';
	if (store == NULL)
		ck_assert_int_eq(store_open(unit_path, &message, &store), 0);
	return store->driver->open_chain(store, NULL, id_of(MEMBERS - 1), getpid(), &message,
					 &chain);
}

static void assert_is_whole(void)
{
	const char *blocks;

	ck_assert_uint_eq(chain->count, MEMBERS);
	assert_all_lines(true);
	blocks = blocks_of(REL);
	ck_assert_uint_eq(strlen(blocks), MEMBERS);
	for (unsigned n = 0; n < MEMBERS; n++)
		ck_assert_int_eq(blocks[n], 'b' + (int)n % 20);
	ck_assert_str_eq(text_of("postgresql.auto.conf"), conf);
}

static void assert_opens(void)
{
	ck_assert_msg(open_locked() == 0, "%s", message.text);
	assert_is_whole();
	check_close();
	assert_all_lines(false);
}

static void put_latch(unsigned member, pid_t pid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d\n", (int)pid);
	unit_put_file(path_of(member, "backup.pid"), text);
}

START_TEST(each_member_is_locked)
{
	assert_opens();
	assert_opens();
}
END_TEST

/* A latch that nobody holds any more. */
START_TEST(a_stale_latch_in_the_middle)
{
	pid_t dead = fork();

	if (dead == 0)
		_exit(0);
	(void)waitpid(dead, NULL, 0);
	put_latch(MEMBERS / 2, dead);
	put_latch(MEMBERS - 1, dead);
	assert_opens();
}
END_TEST

/* One that is held for a while: no member above it is locked meanwhile. */
START_TEST(a_holder_in_the_middle_is_waited_for)
{
	pid_t holder = fork();
	int status;

	if (holder == 0) {
		struct timespec t = {.tv_nsec = 500000000};
		struct stat st;
		bool behind;

		nanosleep(&t, NULL);
		behind = false;
		for (unsigned n = MEMBERS / 2; n < MEMBERS; n++)
			behind |= fstatat(unit_dir, path_of(n, "backup_ro.pid"), &st, 0) == 0;
		_exit(unlinkat(unit_dir, path_of(MEMBERS / 2, "backup.pid"), 0) < 0 || behind);
	}
	put_latch(MEMBERS / 2, holder);
	assert_opens();
	ck_assert_int_eq(waitpid(holder, &status, 0), holder);
	ck_assert_int_eq(status, 0);
}
END_TEST

static ino_t first_ino;

/* The kernel says EAGAIN, too: of a file with a lease. */
static int at_the_first_map(void *ctx, const struct sys_event *event)
{
	struct stat st;

	(void)ctx;
	return event->call == SYS_CALL_OPEN && strcmp(event->path, "page_header_map") == 0 &&
			       fstat(event->fd, &st) == 0 && st.st_ino == first_ino
		       ? -EAGAIN
		       : 0;
}

static const struct sys_hook first_map = {.before = at_the_first_map};

START_TEST(the_first_member_is_never_left_out)
{
	struct stat st;

	ck_assert_int_eq(fstatat(unit_dir, path_of(0, ""), &st, 0), 0);
	first_ino = st.st_ino;
	sys_set_hook(&first_map);
	ck_assert_int_eq(open_locked(), -EAGAIN);
	sys_set_hook(NULL);
	ck_assert_msg(strstr(message.text, "T00000: page_header_map") != NULL, "%s", message.text);
	assert_all_lines(false);
}
END_TEST

/* Only the check under the latch finds a link: the first one is named, and all locks are given back. */
START_TEST(the_first_bad_member_is_named)
{
	char wanted[40];

	for (unsigned n = MEMBERS - 1; n > MEMBERS / 2; n -= 7) {
		ck_assert_int_eq(unlinkat(unit_dir, path_of(n, "page_header_map"), 0), 0);
		ck_assert_int_eq(symlinkat("/etc/passwd", unit_dir, path_of(n, "page_header_map")),
				 0);
		(void)snprintf(wanted, sizeof(wanted), "%s: page_header_map", id_of(n));
		ck_assert_int_eq(open_locked(), -ELOOP);
		ck_assert_msg(strstr(message.text, wanted) != NULL, "%s", message.text);
		assert_all_lines(false);
	}
}
END_TEST

/* ---- a backup that changes between the first look at it and its lock ---- */

static _Atomic unsigned changes;

/* Another list's crc, in a new file: as a merge would, but that it also changes the status. */
static void replace_control(void)
{
	char old[80], new[84];
	_cleanup_free_ char *data = NULL;
	char *crc;
	size_t len;

	(void)snprintf(old, sizeof(old), "%s", path_of(MEMBERS - 1, "backup.control"));
	(void)snprintf(new, sizeof(new), "%s.tmp", old);
	ck_assert_int_eq(sys_read_file(unit_dir, old, 4096, &data, &len), 0);
	crc = strstr(data, "content-crc = ");
	ck_assert_ptr_nonnull(crc);
	crc += strlen("content-crc = ");
	*crc = *crc == '1' ? '2' : '1';
	unit_put_file(new, data);
	ck_assert_int_eq(renameat(unit_dir, new, unit_dir, old), 0);
}

static bool is_target(int dirfd)
{
	struct stat st, own;

	return fstatat(unit_dir, path_of(MEMBERS - 1, ""), &own, 0) == 0 &&
	       fstat(dirfd, &st) == 0 && st.st_ino == own.st_ino;
}

/* A latch is a link of the first member's. */
static int at_the_target(void *ctx, const struct sys_event *event)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

	(void)ctx;
	if (event->call != SYS_CALL_LINK)
		return 0;
	(void)pthread_mutex_lock(&one); /* path_of has one buffer */
	if (is_target(event->fd2)) {
		replace_control();
		changes++;
	}
	(void)pthread_mutex_unlock(&one);
	return 0;
}

static const struct sys_hook target_latch = {.before = at_the_target};

/* Of files just written, and of files that are known by their times. */
START_TEST(a_change_before_the_lock_is_seen)
{
	struct timespec settle = {.tv_sec = _i * 3, .tv_nsec = 100000000};

	(void)nanosleep(&settle, NULL);
	changes = 0;
	sys_set_hook(&target_latch);
	ck_assert_int_eq(open_locked(), -ESTALE);
	sys_set_hook(NULL);
	ck_assert_uint_eq(changes, 1);
	ck_assert_msg(strstr(message.text, "was changed meanwhile") != NULL, "%s", message.text);
	assert_all_lines(false);
}
END_TEST

/* The list of a backup that is being removed cannot be read: the lock says why. */
START_TEST(the_lock_says_more_than_the_list)
{
	unit_put_file(path_of(MEMBERS - 1, "backup_content.control"), "damaged\n");
	ck_assert_int_eq(open_locked(), -EUCLEAN);
	ck_assert_msg(strstr(message.text, "line 1") != NULL, "%s", message.text);
	changes = 0;
	sys_set_hook(&target_latch);
	ck_assert_int_eq(open_locked(), -ESTALE);
	sys_set_hook(NULL);
	ck_assert_msg(strstr(message.text, "was changed meanwhile") != NULL, "%s", message.text);
	assert_all_lines(false);
}
END_TEST

/* ---- locked later ---- */

static char cache[300];

/* Something is kept of the older lists, so that no lock is needed to go on without them. */
static void keep_lists(void)
{
	struct timespec settle = {.tv_sec = 3, .tv_nsec = 100000000};
	struct stat st;

	(void)nanosleep(&settle, NULL);
	(void)snprintf(cache, sizeof(cache), "%s/cache", unit_path);
	ck_assert_int_eq(mkdir(cache, 0700), 0);
	ck_assert_int_eq(store_open(unit_path, &message, &store), 0);
	store->options.cache = cache;
	ck_assert_int_eq(open_locked(), 0);
	store->driver->keep(chain, cache);
	store->driver->close_chain(chain);
	chain = NULL;
	ck_assert_int_eq(fstatat(unit_dir, "cache/lists", &st, 0), 0);
	store->options.settle_later = true;
}

/* Of who has the latch of a member until the chain was opened: he does not end before. */
static pid_t hold_latch(unsigned member, int pipe_fds[2])
{
	pid_t holder;
	char byte;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	holder = fork();
	if (holder == 0) {
		(void)close(pipe_fds[1]);
		(void)!read(pipe_fds[0], &byte, 1);
		_exit(unlinkat(unit_dir, path_of(member, "backup.pid"), 0) < 0);
	}
	(void)close(pipe_fds[0]);
	put_latch(member, holder);
	return holder;
}

/* Of the first one: the thread has not opened any other directory, and none is needed. */
START_TEST(what_is_kept_waits_for_no_lock)
{
	int pipe_fds[2], status;
	pid_t holder;

	keep_lists();
	holder = hold_latch(_i == 0 ? 0 : MEMBERS / 2, pipe_fds);
	ck_assert_msg(open_locked() == 0, "%s", message.text);
	assert_lines(MEMBERS - 1, ""); /* the holder waits for us */
	(void)close(pipe_fds[1]);
	ck_assert_int_eq(layer_chain_settle(chain, &message), 0);
	ck_assert_int_eq(layer_chain_settle(chain, &message), 0);
	ck_assert_ptr_nonnull(chain->warnings);
	ck_assert_int_eq(waitpid(holder, &status, 0), holder);
	ck_assert_int_eq(status, 0);
	assert_is_whole();
	check_close();
	assert_all_lines(false);
}
END_TEST

/* It waits: what it has by then is given back. */
START_TEST(closed_before_it_is_settled)
{
	keep_lists();
	ck_assert_int_eq(open_locked(), 0);
	check_close();
	assert_all_lines(false);
}
END_TEST

START_TEST(a_change_before_the_lock_is_seen_later)
{
	keep_lists();
	changes = 0;
	sys_set_hook(&target_latch);
	ck_assert_msg(open_locked() == 0, "%s", message.text);
	for (unsigned i = 0; i < 2; i++) {
		message.text[0] = '\0';
		ck_assert_int_eq(layer_chain_settle(chain, &message), -ESTALE);
		ck_assert_msg(strstr(message.text, "was changed meanwhile") != NULL, "%s",
			      message.text);
	}
	sys_set_hook(NULL);
	ck_assert_uint_eq(changes, 1);
	check_close();
	assert_all_lines(false);
}
END_TEST

/* Nothing is kept: the older lists are read under their locks. */
START_TEST(lists_are_read_when_they_are_locked)
{
	keep_lists();
	ck_assert_int_eq(unlinkat(unit_dir, "cache/lists", 0), 0);
	ck_assert_msg(open_locked() == 0, "%s", message.text);
	assert_all_lines(true);
	ck_assert_int_eq(layer_chain_settle(chain, &message), 0);
	assert_is_whole();
	check_close();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_long");
	TCase *t = tcase_create("long");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, check_teardown);
	tcase_add_test(t, each_member_is_locked);
	tcase_add_test(t, a_stale_latch_in_the_middle);
	tcase_add_test(t, a_holder_in_the_middle_is_waited_for);
	tcase_add_test(t, the_first_member_is_never_left_out);
	tcase_add_test(t, the_first_bad_member_is_named);
	tcase_add_test(t, the_lock_says_more_than_the_list);
	tcase_add_loop_test(t, a_change_before_the_lock_is_seen, 0, 2);
	tcase_add_loop_test(t, what_is_kept_waits_for_no_lock, 0, 2);
	tcase_add_test(t, closed_before_it_is_settled);
	tcase_add_test(t, a_change_before_the_lock_is_seen_later);
	tcase_add_test(t, lists_are_read_when_they_are_locked);
	suite_add_tcase(s, t);
	return unit_run(s);
}
