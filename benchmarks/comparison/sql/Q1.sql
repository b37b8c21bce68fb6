-- 50 repositories x 10 artifacts x 7 fields: $1 is the viewer, $2 the viewer's groups.
-- A role on a repository is one on all that stands in it.
SELECT convert_to(concat('{"data":{"repositories":{"nodes":[', (SELECT string_agg(item, ',') FROM (
  SELECT concat('{"id":"', r.external_id, '","name":', to_json(r.name), ',"artifacts":{"nodes":[',
  (SELECT string_agg(item, ',') FROM (SELECT concat('{"id":"', a.external_id, '","name":', to_json(a.name), ',"type":"', a.type, '","status":"', a.status,
  '","version":', coalesce(a.version::text, 'null'), ',"revision":', a.revision, ',"createdAt":"', to_char(a.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '"}') AS item FROM artifacts a
  WHERE a.repository_id = r.id ORDER BY a.id DESC LIMIT 10) page), ']}}') AS item
  FROM repositories r WHERE r.id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)) ORDER BY r.id DESC LIMIT 50) page), ']}}}'), 'UTF8')
