package pgstate

// statements are the SQL that a store sends, with its schema filled in. The casts
// tell types to connections that do not prepare statements.
type statements struct {
	commit, commitAgendas, seal, load, agenda, bind, bound, version, setVersion string
}

// commitColumns are the arguments of a commit without agendas.
const commitColumns = `
  $1::bytea[], $2::bigint[], $3::bytea[], $4::text[]::numeric[], $5::bytea[], $6::bigint[], $7::bytea[],
  $8::bytea[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bytea[],
  $13::bytea[], $14::bigint[], $15::bytea[], $16::bytea[]`

func newStatements(schema string) statements {
	in := func(sql string) string { return inSchema(schema, sql) }
	return statements{
		commit: in(`
select n, fenced, epoch::text, session from {schema}.commit_v1(` + commitColumns + `)`),
		commitAgendas: in(`
select n, fenced, epoch::text, session from {schema}.commit_v2(` + commitColumns + `,
  $17::bigint[], $18::bigint[])`),
		seal: in(`
select n, epoch::text, session
from {schema}.seal_v1($1::bytea[], $2::bigint[], $3::text[]::numeric[], $4::bytea[], $5::boolean)`),
		load: in(`
select 0 as what, epoch::text as epoch, null::bigint as version, null::bytea as name, session as value
from {schema}.fences where kind = $1::bytea and shard = $2::bigint
union all
select 1, null, version, null, record
from {schema}.actors where kind = $1::bytea and shard = $2::bigint and key = $3::bytea
union all
select 2, null, null, name, value
from {schema}.actor_rows where kind = $1::bytea and shard = $2::bigint and key = $3::bytea
order by what, name`),
		agenda: in(`
select key, due, dead from {schema}.agendas
where kind = $1::bytea and shard = $2::bigint and key > $3::bytea
order by key limit $4::bigint`),
		bind:    in(`insert into {schema}.meta (name, value) values ('cluster', $1::bytea) on conflict (name) do nothing`),
		bound:   in(`select value from {schema}.meta where name = 'cluster'`),
		version: in(`select convert_from(value, 'UTF8') from {schema}.meta where name = 'version'`),
		setVersion: in(`
insert into {schema}.meta (name, value) values ('version', $1::bytea)
on conflict (name) do update set value = excluded.value`),
	}
}

// schema1 is version 1. Kinds, keys, names and sessions are bytea, as text holds
// no NUL and sorts by language. Room on the pages of fences and actors lets an
// update stay on its page, without touching an index.
//
// commit_v1 takes columns of commits, of rows to put and of rows to delete. It
// writes all and returns nothing, or it writes nothing and returns the first
// commit that is refused, with the stored fence of its shard.
//
//   - It locks the fences FOR SHARE, in one order for all, and keeps them locked
//     until it is committed. That is what makes a seal wait for it. A comparison
//     alone would not: a seal could come and return between the comparison and
//     the end of the commit, whatever the isolation level.
//   - It locks the actors in one order too, so that commits wait for each other
//     in a line and not in a circle.
//   - What it compares is read by a later statement than the one that locks it,
//     as only that is sure to see what the wait for the lock was about.
//   - An actor that does not exist cannot be locked. Two that create it at once
//     meet in the insert, which is then one row short; the transaction is
//     undone, and its next attempt finds the conflict.
//   - Its plans look up each row by its key. Left alone, the server plans for the
//     size that a table has at first, keeps that plan, and reads the whole table
//     until it has counted it again.
//
// seal_v1 raises the fences that are lower or absent, and returns the place and
// the stored fence of each shard whose fence is another then. The update takes a
// lock that FOR SHARE excludes. Without whole_table it waits for each lock a
// quarter of a second at most.
const schema1 = `
create table {schema}.meta (
  name text primary key,
  value bytea not null
);
create table {schema}.fences (
  kind bytea not null,
  shard bigint not null,
  epoch numeric(20) not null,
  session bytea not null,
  primary key (kind, shard)
) with (fillfactor = 50);
create table {schema}.actors (
  kind bytea not null,
  shard bigint not null,
  key bytea not null,
  version bigint not null,
  record bytea not null,
  primary key (kind, shard, key)
) with (fillfactor = 80);
create table {schema}.actor_rows (
  kind bytea not null,
  shard bigint not null,
  key bytea not null,
  name bytea not null,
  value bytea not null,
  primary key (kind, shard, key, name)
) with (fillfactor = 80);

create function {schema}.commit_v1(
  kinds bytea[], shards bigint[], keys bytea[], epochs numeric[], sessions bytea[], versions bigint[], records bytea[],
  put_kinds bytea[], put_shards bigint[], put_keys bytea[], put_names bytea[], put_values bytea[],
  delete_kinds bytea[], delete_shards bigint[], delete_keys bytea[], delete_names bytea[]
) returns table (n bigint, fenced boolean, epoch numeric, session bytea) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
  written bigint;
begin
  perform 1 from {schema}.fences f
    where (f.kind, f.shard) in (select u.kind, u.shard from unnest(kinds, shards) as u (kind, shard))
    order by f.kind, f.shard for share of f;
  perform 1 from {schema}.actors a
    where (a.kind, a.shard, a.key) in (select u.kind, u.shard, u.key from unnest(kinds, shards, keys) as u (kind, shard, key))
    order by a.kind, a.shard, a.key for update of a;
  return query
    select c.n, (f.epoch, f.session) is distinct from (c.epoch, c.session), f.epoch, f.session
    from unnest(kinds, shards, keys, epochs, sessions, versions) with ordinality
      as c (kind, shard, key, epoch, session, version, n)
    left join {schema}.fences f on f.kind = c.kind and f.shard = c.shard
    left join {schema}.actors a on a.kind = c.kind and a.shard = c.shard and a.key = c.key
    where (f.epoch, f.session) is distinct from (c.epoch, c.session) or coalesce(a.version, 0) <> c.version
    order by c.n limit 1;
  if found then
    return;
  end if;
  insert into {schema}.actors as a (kind, shard, key, version, record)
    select c.kind, c.shard, c.key, c.version + 1, c.record
    from unnest(kinds, shards, keys, versions, records) as c (kind, shard, key, version, record)
    order by c.kind, c.shard, c.key
    on conflict (kind, shard, key) do update set version = excluded.version, record = excluded.record
    where a.version = excluded.version - 1;
  get diagnostics written = row_count;
  if written <> cardinality(kinds) then
    raise exception 'an actor was created meanwhile' using errcode = 'serialization_failure';
  end if;
  if cardinality(put_names) > 0 then
    insert into {schema}.actor_rows (kind, shard, key, name, value)
      select p.kind, p.shard, p.key, p.name, p.value
      from unnest(put_kinds, put_shards, put_keys, put_names, put_values) as p (kind, shard, key, name, value)
      on conflict (kind, shard, key, name) do update set value = excluded.value;
  end if;
  if cardinality(delete_names) > 0 then
    delete from {schema}.actor_rows r
      using unnest(delete_kinds, delete_shards, delete_keys, delete_names) as d (kind, shard, key, name)
      where r.kind = d.kind and r.shard = d.shard and r.key = d.key and r.name = d.name;
  end if;
end
$function$;

create function {schema}.seal_v1(
  kinds bytea[], shards bigint[], epochs numeric[], sessions bytea[], whole_table boolean
) returns table (n bigint, epoch numeric, session bytea) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $function$
#variable_conflict use_column
begin
  if whole_table then
    lock table {schema}.fences in exclusive mode;
  else
    perform set_config('lock_timeout', '250ms', true);
  end if;
  insert into {schema}.fences as f (kind, shard, epoch, session)
    select s.kind, s.shard, s.epoch, s.session
    from unnest(kinds, shards, epochs, sessions) as s (kind, shard, epoch, session)
    order by s.kind, s.shard
    on conflict (kind, shard) do update set epoch = excluded.epoch, session = excluded.session
    where f.epoch < excluded.epoch;
  return query
    select s.n, f.epoch, f.session
    from unnest(kinds, shards, epochs, sessions) with ordinality as s (kind, shard, epoch, session, n)
    join {schema}.fences f on f.kind = s.kind and f.shard = s.shard
    where (f.epoch, f.session) is distinct from (s.epoch, s.session);
end
$function$;
`

// schema2 is version 2: the agendas of actors, which are read by their shard in
// the order of the keys' bytes.
//
// commit_v2 is commit_v1 with two more columns of commits, their agendas: null
// leaves an actor's agenda as it is, and zero in both removes it. All decisions
// are those of commit_v1, whose locks are held until the whole transaction ends,
// so an agenda is written by the one commit at a time that may write its actor.
//
// Who may use the tables of version 1 may use the new one, or nodes whose role
// does not own the schema would fail with each agenda from then on.
const schema2 = `
create table {schema}.agendas (
  kind bytea not null,
  shard bigint not null,
  key bytea not null,
  due bigint not null,
  dead bigint not null,
  primary key (kind, shard, key)
) with (fillfactor = 80);
do $rights$
declare
  r record;
begin
  for r in
    select a.privilege_type as what, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as whom
    from pg_catalog.pg_class c, pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) a
    where c.oid = '{schema}.actor_rows'::regclass
  loop
    execute format('grant %s on {schema}.agendas to %s', r.what, r.whom);
  end loop;
end
$rights$;

create function {schema}.commit_v2(
  kinds bytea[], shards bigint[], keys bytea[], epochs numeric[], sessions bytea[], versions bigint[], records bytea[],
  put_kinds bytea[], put_shards bigint[], put_keys bytea[], put_names bytea[], put_values bytea[],
  delete_kinds bytea[], delete_shards bigint[], delete_keys bytea[], delete_names bytea[],
  dues bigint[], deads bigint[]
) returns table (n bigint, fenced boolean, epoch numeric, session bytea) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $function$
#variable_conflict use_column
begin
  return query select r.n, r.fenced, r.epoch, r.session from {schema}.commit_v1(
    kinds, shards, keys, epochs, sessions, versions, records,
    put_kinds, put_shards, put_keys, put_names, put_values,
    delete_kinds, delete_shards, delete_keys, delete_names) as r;
  if found then
    return;
  end if;
  insert into {schema}.agendas (kind, shard, key, due, dead)
    select a.kind, a.shard, a.key, a.due, a.dead
    from unnest(kinds, shards, keys, dues, deads) as a (kind, shard, key, due, dead)
    where a.due <> 0 or a.dead <> 0
    on conflict (kind, shard, key) do update set due = excluded.due, dead = excluded.dead;
  delete from {schema}.agendas g
    using unnest(kinds, shards, keys, dues, deads) as a (kind, shard, key, due, dead)
    where a.due = 0 and a.dead = 0 and g.kind = a.kind and g.shard = a.shard and g.key = a.key;
end
$function$;
`
