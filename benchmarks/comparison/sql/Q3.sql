-- one artifact with all of it: $1 is the viewer, $2 the viewer's groups.
-- One artifact: its grants are looked up, and a role on it is one on its workloads.
SELECT convert_to(('{"data":{"artifact":' || coalesce((SELECT ('{"id":"' || a.external_id || '","name":'
  || to_json(a.name)::text || ',"description":' || to_json(a.description)::text || ',"status":"' || a.status::text
  || '","version":' || coalesce(a.version::text, 'null') || ',"digest":' || to_json(a.digest)::text || ',"createdAt":"'
  || to_char(a.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","createdBy":' || (SELECT ('{"id":"' || u.external_id
  || '","username":' || to_json(u.username)::text || '}')
  FROM users u WHERE u.id = a.created_by_id) || ',"repository":' || (SELECT ('{"id":"' || r.external_id || '","name":'
  || to_json(r.name)::text || '}')
  FROM repositories r WHERE r.id = a.repository_id) || ',"containers":['
  || coalesce(CASE WHEN s.seen THEN (SELECT string_agg(('{"id":"' || c.external_id || '","name":'
  || to_json(c.name)::text || ',"imageUri":' || to_json(c.image_uri)::text || ',"port":'
  || coalesce(c.port::text, 'null') || ',"primary":' || c."primary"::text || ',"environmentVars":['
  || coalesce((SELECT string_agg(('{"name":' || to_json(v.name)::text || ',"type":"' || v.type::text || '","value":'
  || coalesce(to_json(v.value)::text, 'null') || '}'), ',' ORDER BY v.position) FROM environment_variables v
  WHERE v.container_id = c.id), '') || '],"startupProbe":' || coalesce((SELECT ('{"path":' || to_json(path)::text
  || ',"port":' || port::text || '}') FROM probes
  WHERE container_id = c.id AND kind = 'STARTUP'), 'null') || ',"readinessProbe":' || coalesce((SELECT ('{"path":'
  || to_json(path)::text || ',"port":' || port::text || ',"periodSeconds":' || period_seconds::text || '}') FROM probes
  WHERE container_id = c.id AND kind = 'READINESS'), 'null') || ',"livenessProbe":' || coalesce((SELECT ('{"path":'
  || to_json(path)::text || ',"port":' || port::text || '}') FROM probes
  WHERE container_id = c.id AND kind = 'LIVENESS'), 'null') || '}'), ',' ORDER BY c.group_position, c.position)
  FROM containers c WHERE c.artifact_id = a.id) END, '') || '],"workloads":{"nodes":['
  || coalesce((SELECT string_agg(item, ',') FROM (SELECT ('{"id":"' || w.external_id || '","name":'
  || to_json(w.name)::text || ',"status":"' || w.status::text || '","importance":"' || w.importance::text
  || '","replicas":' || w.replicas::text || '}') AS item FROM workloads w WHERE w.artifact_id = a.id AND (s.seen
  OR (SELECT true FROM workload_grants WHERE workload_id = w.id AND (user_id = $1 OR group_name = ANY ($2::text[]) OR (user_id IS NULL AND group_name IS NULL)) LIMIT 1)) ORDER BY w.id DESC LIMIT 5) page), '')
  || ']}}') FROM artifacts a, LATERAL (SELECT (SELECT true FROM repository_grants WHERE repository_id = a.repository_id AND (user_id = $1 OR group_name = ANY ($2::text[]) OR (user_id IS NULL AND group_name IS NULL)) LIMIT 1)
  OR (SELECT true FROM artifact_grants WHERE artifact_id = a.id AND (user_id = $1 OR group_name = ANY ($2::text[]) OR (user_id IS NULL AND group_name IS NULL)) LIMIT 1) AS seen OFFSET 0) s
  WHERE a.id = $3 AND (s.seen
  OR EXISTS (SELECT FROM workloads w WHERE w.artifact_id = a.id AND w.id IN (SELECT workload_id FROM workload_grants
    WHERE user_id = $1 OR group_name = ANY ($2::text[]) OR (user_id IS NULL AND group_name IS NULL)))
  OR EXISTS (SELECT FROM replacements p JOIN workloads w ON w.id = p.workload_id WHERE a.id IN (p.from_artifact_id, p.to_artifact_id)
    AND (w.repository_id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
    OR (user_id IS NULL AND group_name IS NULL)) OR w.artifact_id IN (SELECT artifact_id FROM artifact_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
    OR (user_id IS NULL AND group_name IS NULL)) OR w.id IN (SELECT workload_id FROM workload_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
    OR (user_id IS NULL AND group_name IS NULL)))))), 'null') || '}}'),
  'UTF8')
