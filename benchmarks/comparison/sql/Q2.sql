-- 20 x 10 artifacts with containers, variables, probes, workloads: $1 is the viewer, $2 the viewer's groups.
-- A role on a repository is one on all that stands in it.
SELECT convert_to(('{"data":{"repositories":{"nodes":[' || coalesce((SELECT string_agg(item, ',') FROM (
  SELECT ('{"id":"' || r.external_id || '","name":' || to_json(r.name)::text || ',"artifacts":{"nodes":['
  || coalesce((SELECT string_agg(item, ',') FROM (SELECT ('{"id":"' || a.external_id || '","name":'
  || to_json(a.name)::text || ',"status":"' || a.status::text || '","version":' || coalesce(a.version::text, 'null')
  || ',"containers":[' || coalesce((SELECT string_agg(('{"id":"' || c.external_id || '","name":'
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
  FROM containers c WHERE c.artifact_id = a.id), '') || '],"workloads":{"nodes":['
  || coalesce((SELECT string_agg(item, ',') FROM (SELECT ('{"id":"' || w.external_id || '","name":'
  || to_json(w.name)::text || ',"status":"' || w.status::text || '","importance":"' || w.importance::text
  || '","replicas":' || w.replicas::text
  || '}') AS item FROM workloads w WHERE w.artifact_id = a.id ORDER BY w.id DESC LIMIT 5) page), '')
  || ']}}') AS item FROM artifacts a
  WHERE a.repository_id = r.id ORDER BY a.id DESC LIMIT 10) page), '') || ']}}') AS item
  FROM repositories r WHERE r.id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)) ORDER BY r.id DESC LIMIT 20) page), '') || ']}}}'), 'UTF8')
