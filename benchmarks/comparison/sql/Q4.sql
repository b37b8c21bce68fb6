-- 100 artifacts by creator and tag: $1 is the viewer, $2 the viewer's groups.
SELECT convert_to(('{"data":{"artifacts":{"nodes":[' || coalesce((SELECT string_agg(item, ',') FROM (
  SELECT ('{"id":"' || a.external_id || '","name":' || to_json(a.name)::text || ',"status":"' || a.status::text
  || '","version":' || coalesce(a.version::text, 'null') || ',"createdAt":"'
  || to_char(a.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","createdBy":' || (SELECT ('{"id":"' || u.external_id
  || '","username":' || to_json(u.username)::text || '}')
  FROM users u WHERE u.id = a.created_by_id) || ',"repository":' || (SELECT ('{"id":"' || r.external_id || '","name":'
  || to_json(r.name)::text || '}')
  FROM repositories r WHERE r.id = a.repository_id)
  || '}') AS item FROM artifacts a JOIN artifact_tags t ON t.artifact_id = a.id
  WHERE (a.repository_id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)) OR a.id IN (SELECT artifact_id FROM artifact_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL))) AND a.created_by_id = $3 AND t.name = $4 AND t.value = $5
  ORDER BY a.id DESC LIMIT 100) page), '') || ']}}}'), 'UTF8')
