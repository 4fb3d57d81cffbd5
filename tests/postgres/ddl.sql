-- DDL of every kind in database d1 of the sample store "tablespace". Run with -v ts_new=DIRECTORY.
\set ON_ERROR_STOP 1
set client_min_messages = warning;
set timezone = 'UTC';
select setseed(0.5);

create tablespace ts_new location :'ts_new';

-- a new table with all six kinds of index
create table kinds(id int primary key, grp int, txt text, tags int[], pt point, doc tsvector);
insert into kinds select g, g % 97, md5(g::text) || repeat(chr(97 + g % 26), g % 300),
	array[g % 13, g % 17], point(g % 211, g % 223), to_tsvector('simple', 'word' || g % 41 || ' w' || g % 7)
	from generate_series(1, 6000) g;
create index kinds_btree on kinds using btree (grp, txt);
create index kinds_hash on kinds using hash (txt);
create index kinds_gin on kinds using gin (tags);
create index kinds_gist on kinds using gist (pt);
create index kinds_spgist on kinds using spgist (txt);
create index kinds_brin on kinds using brin (id) with (pages_per_range = 4);
create index concurrently kinds_doc on kinds using gin (doc);
update kinds set grp = grp + 1 where id % 3 = 0;
delete from kinds where id % 10 = 0;
vacuum kinds;
create table as_select as select id, txt from kinds where id % 2 = 0;
create materialized view as_view as select grp, count(*) n from kinds group by grp;
refresh materialized view as_view;

-- rewrites
create table full_one as select g id, repeat('f', 400) pad from generate_series(1, 5000) g;
delete from full_one where id % 4 <> 0;
vacuum full full_one;
create table clustered(id int, pad text);
insert into clustered select (g * 7919) % 5003, repeat('c', 200) from generate_series(1, 5000) g;
create index clustered_id on clustered(id);
cluster clustered using clustered_id;
create table retyped as select g id, g n from generate_series(1, 3000) g;
alter table retyped alter n type text using 'n' || n;
alter table retyped add column later int default 7;
reindex table clustered;

-- truncation and removal, of new relations and of the backup's
create table cut as select g id, repeat('x', 500) pad from generate_series(1, 3000) g;
truncate cut;
create table refilled as select g id, repeat('x', 500) pad from generate_series(1, 3000) g;
checkpoint;
truncate refilled;
insert into refilled select g, 'again' from generate_series(1, 10) g;
create table dropped as select g id, repeat('x', 500) pad from generate_series(1, 3000) g;
create index on dropped(id);
checkpoint;
drop table dropped;
create table shrunk as select g id, repeat('s', 500) pad from generate_series(1, 4000) g;
checkpoint;
delete from shrunk where id > 50;
vacuum shrunk;
insert into shrunk select g, 'regrown' from generate_series(5000, 9000) g;
drop table in_two;
truncate in_one;
insert into in_one select * from in_default limit 3;
update in_default set id = id where id % 5 = 0;
delete from moves where id > 100;
vacuum moves;

-- tablespaces
alter table as_select set tablespace ts_one;
alter index kinds_btree set tablespace ts_two;
alter table moves set tablespace pg_default;
alter table in_default set tablespace ts_new;
create table in_new(id int primary key, pad text) tablespace ts_new;
insert into in_new select g, repeat('t', 100) from generate_series(1, 2000) g;
create table to_and_fro tablespace ts_new as select * from in_new;
alter table to_and_fro set tablespace ts_two;
alter table to_and_fro set tablespace pg_default;

-- unlogged, partitions, large objects, sequences, TOAST
create unlogged table unlogged_one(id int primary key, pad text);
insert into unlogged_one select g, repeat('u', 100) from generate_series(1, 2000) g;
create unlogged table made_logged as select g id from generate_series(1, 2000) g;
alter table made_logged set logged;
create table parts(id int, at int, pad text, primary key (id, at)) partition by range (at);
create table parts_1 partition of parts for values from (0) to (100);
create table parts_2 partition of parts for values from (100) to (200) tablespace ts_one;
create table parts_3 partition of parts for values from (200) to (300);
create table parts_default partition of parts default;
insert into parts select g, g % 350, repeat('p', 50) from generate_series(1, 7000) g;
alter table parts detach partition parts_3;
drop table parts_1;
alter table parts attach partition parts_3 for values from (200) to (300);
select lo_from_bytea(90001, convert_to(repeat('large object ', 20000), 'UTF8'));
select lo_from_bytea(90002, 'gone'), lo_unlink(90002);
select lo_put(90001, 100, 'changed');
create sequence seq;
select setval('seq', 12345);
create table toasted(id int, doc text);
alter table toasted alter doc set storage external;
insert into toasted select g, (select string_agg(md5(g::text || i), '') from generate_series(1, 400) i) from generate_series(1, 60) g;
update toasted set doc = doc || 'x' where id % 2 = 0;
create temporary table temp_one as select g id from generate_series(1, 5000) g;
create schema gone_schema create table inside(id int) create view v as select 1;
drop schema gone_schema cascade;
analyze;

-- databases, with both strategies; d2 is the backup's
create database made_wal template d2 strategy wal_log;
create database made_copy template d2 strategy file_copy tablespace ts_one;
create database made_gone template d2 strategy wal_log;
drop database made_gone;
drop database d2;
checkpoint;
