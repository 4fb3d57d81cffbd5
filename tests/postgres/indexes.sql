-- Each kind of index must find what a sequential scan finds. Prints a line for each that does not.
\set ON_ERROR_STOP 1
create or replace function pg_temp.compare(cond text) returns setof text language plpgsql as $$
declare a bigint; b bigint;
begin
	set local enable_seqscan = on; set local enable_indexscan = off; set local enable_bitmapscan = off;
	set local enable_indexonlyscan = off;
	execute 'select count(*) from kinds where ' || cond into a;
	set local enable_seqscan = off; set local enable_indexscan = on; set local enable_bitmapscan = on;
	set local enable_indexonlyscan = on;
	execute 'select count(*) from kinds where ' || cond into b;
	if a is distinct from b or a = 0 then return next format('%s: %s rows, by index %s', cond, a, b); end if;
end $$;
select pg_temp.compare(c) from (values ('grp = 5'), ('txt = (select txt from kinds where id = 1234 or id = 1235 limit 1)'),
	('tags @> array[3]'), ('pt <@ box ''(10,10),(60,60)'''), ('txt between ''a'' and ''b'''), ('id between 100 and 900'),
	('doc @@ to_tsquery(''simple'', ''word5'')')) v(c);
