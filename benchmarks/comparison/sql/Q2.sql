-- 20 x 10 artifacts with containers, variables, probes, workloads: $1 is the viewer, $2 the viewer's groups.
-- A role on a repository is one on all that stands in it.
SELECT convert_to(concat('{"data":{"repositories":{"nodes":[', (SELECT string_agg(item, ',') FROM (
  SELECT concat('{"id":"', r.external_id, '","name":', to_json(r.name), ',"artifacts":{"nodes":[',
  (SELECT string_agg(item, ',') FROM (SELECT concat('{"id":"', a.external_id, '","name":', to_json(a.name), ',"status":"', a.status,
  '","version":', coalesce(a.version::text, 'null'), ',', '"containers":[', (SELECT string_agg(concat('{"id":"', c.external_id, '","name":', to_json(c.name),
  ',"imageUri":', to_json(c.image_uri), ',"port":', coalesce(c.port::text, 'null'), ',"primary":', c."primary"::text,
  ',"environmentVars":[', (SELECT string_agg(concat('{"name":', to_json(v.name), ',"type":"', v.type, '","value":',
  coalesce(to_json(v.value)::text, 'null'), '}'), ',' ORDER BY v.position) FROM environment_variables v
  WHERE v.container_id = c.id),
  '],"startupProbe":', coalesce((SELECT concat('{"path":', to_json(path), ',"port":', port, '}') FROM probes
  WHERE container_id = c.id AND kind = 'STARTUP'), 'null'),
  ',"readinessProbe":', coalesce((SELECT concat('{"path":', to_json(path), ',"port":', port, ',"periodSeconds":', period_seconds, '}') FROM probes
  WHERE container_id = c.id AND kind = 'READINESS'), 'null'),
  ',"livenessProbe":', coalesce((SELECT concat('{"path":', to_json(path), ',"port":', port, '}') FROM probes
  WHERE container_id = c.id AND kind = 'LIVENESS'), 'null'), '}'), ',' ORDER BY c.group_position, c.position)
  FROM containers c WHERE c.artifact_id = a.id), ']', ',"workloads":{"nodes":[', (SELECT string_agg(item, ',') FROM (SELECT concat('{"id":"', w.external_id,
  '","name":', to_json(w.name), ',"status":"', w.status, '","importance":"', w.importance, '","replicas":', w.replicas,
  '}') AS item FROM workloads w WHERE w.artifact_id = a.id ORDER BY w.id DESC LIMIT 5) page), ']}', '}') AS item FROM artifacts a
  WHERE a.repository_id = r.id ORDER BY a.id DESC LIMIT 10) page), ']}}') AS item
  FROM repositories r WHERE r.id IN (SELECT repository_id FROM repository_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)) ORDER BY r.id DESC LIMIT 20) page), ']}}}'), 'UTF8')
