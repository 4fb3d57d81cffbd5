/*
 * posix_check: what users may do, who are not root and not the owner.
 */
#include "posix_check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OTHER = 65533, THIRD = 65532 };

/* The rest of the process acts as this user, whose only group is gid. */
static void become(uid_t uid, gid_t gid)
{
	if (seteuid(0) != 0 || setgroups(0, NULL) != 0 || setegid(gid) != 0 || seteuid(uid) != 0)
		exit(2);
}

void check_permissions(void)
{
	static const struct timespec when[2] = {{.tv_sec = 5}, {.tv_sec = 6}};

	check_group = "permissions";
	DOES(mkdir("open", 0777));
	DOES(chmod("open", 0777));
	DOES(mkdir("closed", 0700));
	DOES(mkdir("listed", 0744));
	DOES(make("listed/x", 0666));
	DOES(mkdir("fixed", 0755));
	DOES(make("fixed/x", 0666));
	DOES(make("secret", 0600));
	DOES(make("shared", 0666));
	DOES(make("setid", 06777));
	become(OTHER, OTHER);
	FAILS(opens("secret", O_RDONLY), EACCES);
	FAILS(opens("secret", O_WRONLY), EACCES);
	FAILS(truncate("secret", 0), EACCES);
	FAILS(chmod("secret", 0666), EPERM);
	FAILS(chown("secret", OTHER, OTHER), EPERM);
	FAILS(utimensat(AT_FDCWD, "secret", NULL, 0), EACCES);
	FAILS(utimensat(AT_FDCWD, "shared", when, 0), EPERM);
	DOES(utimensat(AT_FDCWD, "shared", NULL, 0));
	FAILS(chmod("shared", 0600), EPERM);
	FAILS(opens("closed/x", O_RDONLY), EACCES);
	FAILS(opens("closed", O_RDONLY), EACCES);
	DOES(opens("listed", O_RDONLY));
	FAILS(opens("listed/x", O_RDONLY), EACCES);
	FAILS(make("fixed/y", 0600), EACCES);
	FAILS(mkdir("fixed/d", 0700), EACCES);
	FAILS(unlink("fixed/x"), EACCES);
	FAILS(rename("fixed/x", "open/x"), EACCES);
	FAILS(rename("shared", "open/shared"), EACCES);
	FAILS(faccessat(AT_FDCWD, "secret", R_OK, AT_EACCESS), EACCES);
	DOES(opens("shared", O_RDWR | O_TRUNC));
	GIVES(size("shared"), 0);
	GIVES(mode("setid"), 06777);
	DOES(opens("setid", O_WRONLY | O_TRUNC));
	GIVES(mode("setid"), 0777);
	DOES(make("open/mine", 0644));
	GIVES(stat_of("open/mine").st_uid, OTHER);
	GIVES(stat_of("open/mine").st_gid, OTHER);
	DOES(chmod("open/mine", 06755));
	GIVES(mode("open/mine"), 06755);
	DOES(chown("open/mine", (uid_t)-1, OTHER)); /* takes the set-id bits away */
	GIVES(mode("open/mine"), 0755);
	FAILS(chown("open/mine", THIRD, (gid_t)-1), EPERM);
	FAILS(chown("open/mine", (uid_t)-1, THIRD), EPERM);
	FAILS(chown("open/mine", 0, 0), EPERM);
	become(0, 0);
	DOES(chown("open/mine", OTHER, THIRD));
	become(OTHER, OTHER);
	DOES(chmod("open/mine", 02755)); /* the file's group is not this user's */
	GIVES(mode("open/mine"), 0755);
	become(THIRD, THIRD);
	FAILS(opens("open/mine", O_WRONLY), EACCES);
	DOES(opens("open/mine", O_RDONLY));
	DOES(unlink("open/mine")); /* the directory counts, not the file */
	become(0, 0);
}

void check_sticky(void)
{
	check_group = "sticky";
	DOES(mkdir("sticky", 0));
	DOES(chmod("sticky", 01777));
	DOES(make("sticky/root", 0666));
	become(THIRD, THIRD);
	DOES(make("sticky/third", 0666));
	DOES(mkdir("sticky/thirds", 0777));
	become(OTHER, OTHER);
	FAILS(unlink("sticky/root"), EPERM);
	FAILS(unlink("sticky/third"), EPERM);
	FAILS(rmdir("sticky/thirds"), EPERM);
	FAILS(rename("sticky/third", "sticky/x"), EPERM);
	DOES(make("sticky/other", 0666));
	FAILS(rename("sticky/other", "sticky/third"), EPERM);
	DOES(rename("sticky/other", "sticky/other2"));
	DOES(unlink("sticky/other2"));
	become(THIRD, THIRD);
	DOES(unlink("sticky/third"));
	DOES(rmdir("sticky/thirds"));
	become(0, 0);
	DOES(unlink("sticky/root"));
	DOES(rmdir("sticky"));
}

void check_setgid(void)
{
	check_group = "setgid";
	DOES(mkdir("gid", 0));
	DOES(chown("gid", 0, THIRD));
	DOES(chmod("gid", 02777));
	become(OTHER, OTHER);
	DOES(make("gid/file", 0644));
	DOES(mkdir("gid/sub", 0755));
	GIVES(stat_of("gid/file").st_gid, THIRD);
	GIVES(stat_of("gid/sub").st_gid, THIRD);
	GIVES(mode("gid/sub"), 02755);
	become(0, 0);
	DOES(unlink("gid/file"));
	DOES(rmdir("gid/sub"));
	DOES(rmdir("gid"));
}
