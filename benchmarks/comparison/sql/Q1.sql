-- 50 repositories x 10 artifacts x 7 fields: $1 is the viewer, $2 the viewer's groups.
-- A role on a repository is one on all that stands in it.
SELECT convert_to(('{"data":{"repositories":{"nodes":[' || coalesce((SELECT string_agg(item, ',') FROM (
  SELECT ('{"id":"' || r.external_id || '","name":' || to_json(r.name)::text || ',"artifacts":{"nodes":['
  || coalesce((SELECT string_agg(item, ',') FROM (SELECT ('{"id":"' || a.external_id || '","name":'
  || to_json(a.name)::text || ',"type":"' || a.type::text || '","status":"' || a.status::text || '","version":'
  || coalesce(a.version::text, 'null') || ',"revision":' || a.revision::text || ',"createdAt":"'
  || to_char(a.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}') AS item FROM artifacts a
  WHERE a.repository_id = r.id ORDER BY a.id DESC LIMIT 10) page), '') || ']}}') AS item
  FROM repositories r WHERE r.id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)) ORDER BY r.id DESC LIMIT 50) page), '') || ']}}}'), 'UTF8')
