-- One line per object: what must be the same before and after a restart, a crash or a remount.
-- Unlogged relations and what the load generators write are left out.
set timezone = 'UTC';
select format('select %L, count(*), md5(coalesce(string_agg(md5(t::text), '''' order by t::text collate "C"), '''')) from only %s t',
		c.relkind::text || ' ' || c.oid::regclass::text, c.oid::regclass)
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind in ('r', 'm') and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and c.relname !~ '^(ledger|pgbench|churn)'
	order by n.nspname, c.relname \gexec
select 'sequence ' || sequencename, last_value is not null from pg_sequences order by 1;
select 'large object ' || oid, md5(lo_get(oid)) from pg_largeobject_metadata order by oid;
select 'tablespace ' || spcname from pg_tablespace order by 1;
select 'database ' || datname from pg_database order by 1;
