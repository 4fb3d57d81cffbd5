/*
 * tests/fault/scripts.c: short sequences of what PostgreSQL asks for.
 */
#include "scripts.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct script scripts[] = {
	/* opening and closing */
	{.name = "make a diff",
	 .fresh = true,
	 .steps = "open; create a; write a 0 1b; fsync a; close"},
	{.name = "open a clean diff", .steps = "open; read base 0 4b; write base 0 1b; close"},
	{.name = "replay the journal",
	 .setup = "open; create a; write a 0 2b; fsync a; write base 1b 1b; truncate victim 1b;"
		  "fsync base; rename a b; unlink d/other; fsyncdir; kill",
	 .steps = "open; read b 0 2b; read base 0 4b; write base 0 1b; fsync base"},
	{.name = "recover with strays",
	 .setup = "open; create a; write a 0 2b; fsync a; unlink a; create c; write c 0 3b;"
		  "write rel 0 2b; kill",
	 .steps = "open; list .; create e; write e 0 1b; fsync e; close"},
	{.name = "recover from a state",
	 .setup = "open; write base 0 4b; create a; fsync base; close; open; write base 2b 1b;"
		  "truncate rel 7b; fsync base; fsync rel",
	 .steps = "kill; open; read base 0 4b; read rel 0 7b"},
	{.name = "close and open",
	 .setup = "open",
	 .steps = "create a; write a 0 1b; create c; fsync a; unlink c; close; open; read a 0 1b"},
	{.name = "close with removed files",
	 .setup = "open; create a; write a 0 4b; write base 0 4b; syncall",
	 .steps = "unlink a; unlink base; syncall; close"},

	/* new blocks, blocks of the chain, merges */
	{.name = "new file",
	 .setup = "open",
	 .steps = "create a; write a 0 2b; fsync a; write a 1b 3b; append a 100; fsync a"},
	{.name = "block of the chain",
	 .setup = "open",
	 .steps = "write base 1b 1b; fsync base; write base 1b 1b; fsync base; read base 0 4b"},
	{.name = "part of a block",
	 .setup = "open",
	 .steps = "write base 100 50; write base 1b+8000 400; fsync base; read base 0 4b"},
	{.name = "parts of many blocks",
	 .setup = "open",
	 .steps = "write rel 3b+10 2b; write rel 39b+100 9000; write rel 20b+5 6b; fsync rel"},
	{.name = "part of a plain file",
	 .setup = "open",
	 .steps = "write victim 300 10; write victim 2b+3000 9000; fsync victim; append victim 10"},
	{.name = "overwrite",
	 .setup = "open; write base 0 4b; fsync base",
	 .steps = "write base 0 4b; fsync base; write base 1b+5 100; fsync base; write base 0 2b"},
	{.name = "scattered blocks",
	 .setup = "open",
	 .steps = "write rel 1b 1b; write rel 3b 1b; write rel 9b 1b; write rel 20b 1b; fsync rel;"
		  "write rel 2b 1b; write rel 30b 3b; syncall"},
	{.name = "extend",
	 .setup = "open",
	 .steps = "append base 100; append base 1b; write base 9b+50 10; fsync base; append base 1b"},

	/* sizes */
	{.name = "truncate",
	 .setup = "open",
	 .steps = "truncate base 1b+77; fsync base; truncate base 3b; write base 2b 100; fsync base;"
		  "truncate base 0; fsync base"},
	{.name = "truncate and grow again",
	 .setup = "open; write rel 0 10b; fsync rel",
	 .steps = "truncate rel 5b; truncate rel 12b; fsync rel; write rel 8b 1b; syncall;"
		  "truncate rel 2b+1; truncate rel 4b; syncall"},
	{.name = "allocate",
	 .setup = "open",
	 .steps = "create a; allocate a 0 4b; write a 0 4b; fsync a; allocate base 2b 4b;"
		  "fsync base"},
	{.name = "allocate and keep the size",
	 .setup = "open",
	 .steps = "allocate-keep base 0 9b; write base 4b 2b; fsync base; allocate base 0 8b+10"},
	{.name = "punch",
	 .setup = "open; write rel 0 20b; syncall",
	 .steps = "punch rel 2b+100 5b; fsync rel; read rel 0 10b; write rel 3b 1b; fsync rel;"
		  "punch rel 0 20b; syncall"},
	{.name = "zero a range",
	 .setup = "open",
	 .steps = "zero base 100 2b; zero-keep base 3b 9b; fsync base; zero base 3b+10 2b; syncall"},

	/* syncs */
	{.name = "syncs of a directory",
	 .setup = "open",
	 .steps = "create a; create d/b; fsyncdir; mkdir e; fsyncdir; rmdir e; fsyncdir"},
	{.name = "checkpoint",
	 .setup = "open",
	 .steps = "write m0 0 1b; write m1 0 1b; write m2 0 1b; write m3 0 1b; write m4 0 1b;"
		  "write m5 0 1b; fsync m0; fsync m1; fsync m2; fsync m3; fsync m4; fsync m5"},
	{.name = "syncs together",
	 .setup = "open",
	 .steps = "&write m0 0 1b; &write m1 0 1b; &write m2 100 200; wait; &fsync m0; &fsync m1;"
		  "&write m3 0 1b; &fsync m2; &fsync m0; wait; fsync m3; fsync m0; fsync m1"},
	{.name = "sync of the same file twice",
	 .setup = "open; write base 0 2b; fsync base",
	 .steps = "write base 0 1b; &fsync base; &fsync base; wait; fsync base; write base 0 1b;"
		  "fsync base"},
	{.name = "timer",
	 .setup = "open",
	 .steps = "write base 0 1b; create a; syncall; syncall; write base 0 1b; syncall; chmod base"},
	{.name = "control file",
	 .setup = "open",
	 .steps = "write rel 0 2b; create a; write global/pg_control 0 1b;"
		  "fsync global/pg_control; write m0 0 1b; write global/pg_control 0 512"},
	{.name = "segment of WAL",
	 .setup = "open",
	 .steps = "create w; allocate w 0 6b; write w 0 6b; fsync w; write w 0 1b; fsync w;"
		  "rename w w2; fsync w2; fsyncdir; write w2 1b 1b; fsync w2"},

	/* names */
	{.name = "rename",
	 .setup = "open",
	 .steps = "create a; write a 0 1b; fsync a; rename a b; fsyncdir; rename base d/base;"
		  "fsyncdir; write d/base 0 1b; fsync d/base"},
	{.name = "durable rename over a file",
	 .setup = "open; write victim 0 1b; fsync victim",
	 .steps = "create t; write t 0 1b; fsync t; rename t victim; fsync victim; fsyncdir"},
	{.name = "rename over an open file",
	 .setup = "open; create a; write a 0 2b; fsync a; hold victim",
	 .steps = "rename a victim; fsyncdir; release victim; syncall; write victim 0 1b; syncall"},
	{.name = "exchange",
	 .setup = "open",
	 .steps = "write base 0 1b; exchange base victim; fsyncdir; write victim 1b 1b; syncall"},
	{.name = "link",
	 .setup = "open",
	 .steps = "create a; write a 0 1b; link a b; fsync b; unlink a; fsyncdir; write b 0 1b;"
		  "fsync b"},
	{.name = "unlink",
	 .setup = "open; write base 0 4b; fsync base",
	 .steps = "unlink base; fsyncdir; unlink rel; syncall; create base; write base 0 1b; syncall"},
	{.name = "unlink an open file",
	 .setup = "open; create a; write a 0 2b; fsync a; hold a",
	 .steps = "unlink a; write a 1b 2b; read a 0 3b; fsyncdir; release a; syncall"},
	{.name = "links and directories",
	 .setup = "open",
	 .steps = "symlink l; mkdir e; create e/f; write e/f 0 100; fsync e/f; rename e g; fsyncdir;"
		  "unlink g/f; rmdir g; unlink l; fsyncdir; chmod base; syncall"},

	/* reading the chain */
	{.name = "read stored pages",
	 .setup = "open",
	 .steps = "read base 0 4b; read rel 0 40b; read rel 7b+3 3b; read rel 39b 9b"},
	{.name = "read plain files",
	 .setup = "open",
	 .steps = "read victim 0 3b; read d/other 100 9000; read small 0 100; read m0 0 1b"},
	{.name = "read at once",
	 .setup = "open",
	 .steps = "&read rel 0 40b; &read rel 0 2b; &read base 0 4b; &read victim 0 20000; wait"},
	{.name = "indexes that find no room",
	 .setup = "open",
	 .index_memory = 1,
	 .steps = "read rel 0 40b; read base 0 4b; read rel 0 9b; read victim 0 1b; write rel 5 5"},

	/* few descriptors, long journals, little room */
	{.name = "descriptors are evicted",
	 .setup = "open",
	 .slots = 2,
	 .steps = "write m0 0 1b; write m1 0 1b; write m2 0 1b; write m3 0 1b; read m0 0 1b;"
		  "fsync m0; fsync m1; fsync m2; fsync m3; fsync m0"},
	{.name = "descriptors are evicted by readers",
	 .setup = "open; write m0 0 1b; fsync m0",
	 .slots = 2,
	 .steps = "write m0 0 1b; read rel 0 9b; read base 0 4b; read m1 0 1b; write m0 0 1b;"
		  "fsync m0; read victim 0 1b; fsync m0"},
	{.name = "the journal grows",
	 .setup = "open; storm 1230",
	 .steps = "storm 40; fsyncdir; write base 0 1b; fsync base"},
	{.name = "new states",
	 .setup = "open",
	 .journal_limit = 1,
	 .steps = "write base 0 1b; syncall; write base 1b 1b; create a; syncall; unlink a;"
		  "write rel 0 3b; syncall; write base 0 1b; fsync base; fsyncdir"},
	{.name = "new states after a while",
	 .setup = "open",
	 .journal_limit = 500,
	 .steps = "create a; write a 0 1b; fsync a; truncate base 1b; fsync base; create c; write c 0 1b;"
		  "fsync c; rename c d/c; fsyncdir; write a 0 3b; syncall; unlink a; syncall"},
	{.name = "room on the host",
	 .setup = "open",
	 .reserve = 1 << 20,
	 .steps = "write base 0 2b; create a; allocate a 0 4b; write a 0 4b; append a 1b; fsync a"},
};

const unsigned script_count = ARRAY_SIZE(scripts);

struct layer_chain *scripts_chain(const char *dir, struct synth **ret)
{
	static uint8_t whole[40];
	static const uint8_t few[] = {0, 1};
	struct synth_blocks all = {.origin = LAYER_ORIGIN_NONE,
				   .size = LAYER_SIZE_UNKNOWN,
				   .base_limit = LAYER_NO_LIMIT,
				   .stored = whole};
	struct synth_blocks changed = all;
	struct synth *s = synth_new(dir, 2, 42);
	char name[8];

	memset(whole, 1, sizeof(whole));
	changed.origin = LAYER_ORIGIN_NEAREST;
	changed.count = 2;
	changed.stored = few;
	for (unsigned i = 0; i < 2; i++) {
		synth_add_dir(s, i, "d", 0700);
		synth_add_dir(s, i, "global", 0700);
		all.count = changed.base_limit = 4;
		synth_add_blocks(s, i, "base", i == 0 ? &all : &changed);
		all.count = changed.base_limit = 40;
		synth_add_blocks(s, i, "rel", i == 0 ? &all : &changed);
		synth_add_plain(s, i, "d/other", 20000, i == 0);
		synth_add_plain(s, i, "victim", 20000, i == 0);
		synth_add_plain(s, i, "global/pg_control", 8192, i == 0);
		synth_add_inline(s, i, "small", 100);
		for (unsigned n = 0; n < 6; n++) {
			(void)snprintf(name, sizeof(name), "m%u", n);
			synth_add_plain(s, i, name, 9000, i == 0);
		}
	}
	*ret = s;
	return synth_chain(s);
}

static int note_name(void *ctx, const char *name, uint32_t type, uint64_t ino)
{
	struct player *p = ctx;

	(void)ino;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	book_set_name(book_now(p->book), name, (int)book_add_file(p->book, type));
	return 0;
}

static void add_path(struct player *p, const char *path)
{
	book_set_name(book_now(p->book), path, (int)book_add_file(p->book, S_IFREG));
}

void scripts_read_chain(struct player *p)
{
	struct book_tree *t = book_now(p->book);

	if (p->b.backend.ops->list(&p->b.backend, "", note_name, p) < 0)
		abort();
	add_path(p, "d/other");
	add_path(p, "global/pg_control");
	for (unsigned i = 0; i < t->count; i++) {
		struct book_file *f = &p->book->files[t->names[i].file];
		uint64_t size = 0;

		if (f->type != S_IFREG)
			continue;
		if (!player_read_live(p, player_file(p, t->names[i].file, t->names[i].name),
				      &size))
			abort();
		f->count = 0;
		book_write(f, 0, size, p->live);
		book_keep(f);
	}
}
