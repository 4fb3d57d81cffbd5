drop table if exists churn_:client_id;
create table churn_:client_id as select g id, repeat('c', 300) pad from generate_series(1, 400) g;
create index on churn_:client_id (id);
truncate churn_:client_id;
insert into churn_:client_id select g, repeat('d', 300) from generate_series(1, 200) g;
vacuum churn_:client_id;
