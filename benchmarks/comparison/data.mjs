// What Mercurius and Apollo share: a pool, who asks, and reads that take many keys at once. Statements are prepared.
import { createHash } from "node:crypto";
import pg from "pg";

// Timestamps as Slipway writes them; the driver would lose their microseconds.
const MOMENT = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;
const ARTIFACT = `a.id AS key, a.repository_id, a.created_by_id, a.external_id AS id, a.name, a.description, a.type, a.status,
  a.version, a.revision, a.digest, to_char(a.created_at, ${MOMENT}) AS "createdAt"`;
const CONTAINER = `c.id AS key, c.artifact_id AS parent, c.external_id AS id, c.name, c.image_uri AS "imageUri", c.port, c."primary"`;
const WORKLOAD = `w.external_id AS id, w.name, w.status, w.importance, w.replicas`;

// The visibility rule, with the viewer as $1 and the viewer's groups as $2.
const granted = (kind) => `SELECT ${kind}_id FROM ${kind}_grants WHERE user_id = $1 OR group_name = ANY ($2::text[])
  OR (user_id IS NULL AND group_name IS NULL)`;
const VISIBLE = {
  repository: `r.id IN (${granted("repository")})`,
  artifact: `(a.repository_id IN (${granted("repository")}) OR a.id IN (${granted("artifact")}))`,
  workload: `(w.repository_id IN (${granted("repository")}) OR w.artifact_id IN (${granted("artifact")})
    OR w.id IN (${granted("workload")}))`,
};
// What is reached by its id may also be a frame: a workload of it is seen, or one that ran it before.
const REACHABLE_ARTIFACT = `(${VISIBLE.artifact}
  OR EXISTS (SELECT FROM workloads w WHERE w.artifact_id = a.id AND w.id IN (${granted("workload")}))
  OR EXISTS (SELECT FROM replacements p JOIN workloads w ON w.id = p.workload_id
    WHERE a.id IN (p.from_artifact_id, p.to_artifact_id) AND ${VISIBLE.workload}))`;
const REMEMBERED_MILLISECONDS = 1000;

export class Data {
  constructor() {
    this.pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10, options: "-c timezone=UTC -c jit=off" });
    this.viewers = new Map();
  }

  async read(name, text, values) {
    return (await this.pool.query({ name, text, values })).rows;
  }

  // The viewer behind a token, remembered for a second.
  viewer(authorization) {
    const secret = (authorization ?? "").replace(/^bearer +/i, "");
    const known = this.viewers.get(secret);
    if (known && known.at > performance.now() - REMEMBERED_MILLISECONDS) return known.answer;
    const answer = this.readViewer(secret);
    this.viewers.set(secret, { at: performance.now(), answer });
    return answer;
  }

  async readViewer(secret) {
    const digest = createHash("sha256").update(secret).digest();
    const [found] = await this.read(
      "viewer",
      `SELECT u.id, array(SELECT group_name FROM group_members WHERE user_id = u.id) AS groups FROM api_tokens t
       JOIN users u ON u.id = t.user_id WHERE t.secret_sha256 = $1 AND (t.expires_at IS NULL OR t.expires_at > now())`,
      [digest],
    );
    if (!found) throw new Error("The token is unknown.");
    return [found.id, found.groups];
  }

  repositories(viewer, first) {
    return this.read(
      "repositories",
      `SELECT r.id AS key, r.external_id AS id, r.name FROM repositories r WHERE ${VISIBLE.repository}
       ORDER BY r.id DESC LIMIT $3`,
      [...viewer, first],
    );
  }

  artifacts(viewer, first, filter) {
    const createdBy = filter?.createdBy?.map(uuid) ?? null;
    const [tag] = filter?.tags ?? [];
    return this.read(
      "artifacts",
      `SELECT ${ARTIFACT} FROM artifacts a WHERE ${VISIBLE.artifact}
       AND ($4::uuid[] IS NULL OR a.created_by_id = ANY ($4)) AND ($5::text IS NULL OR EXISTS (SELECT FROM artifact_tags t
         WHERE t.artifact_id = a.id AND t.name = $5 AND ($6::text[] IS NULL OR t.value = ANY ($6))))
       ORDER BY a.id DESC LIMIT $3`,
      [...viewer, first, createdBy, tag?.name ?? null, tag?.values ?? null],
    );
  }

  async artifact(viewer, id) {
    const [found] = await this.read(
      "artifact",
      `SELECT ${ARTIFACT} FROM artifacts a WHERE a.id = $3 AND ${REACHABLE_ARTIFACT}`,
      [...viewer, uuid(id)],
    );
    return found ?? null;
  }

  async artifactsOf(viewer, keys, first) {
    const rows = await this.read(
      "artifacts of repositories",
      `SELECT page.* FROM unnest($3::uuid[]) AS parent (id) CROSS JOIN LATERAL (SELECT ${ARTIFACT} FROM artifacts a
         WHERE a.repository_id = parent.id AND ${VISIBLE.artifact} ORDER BY a.id DESC LIMIT $4) page`,
      [...viewer, keys, first],
    );
    return grouped(rows, keys, "repository_id");
  }

  async workloadsOf(viewer, keys, first) {
    const rows = await this.read(
      "workloads of artifacts",
      `SELECT parent.id AS parent, page.* FROM unnest($3::uuid[]) AS parent (id) CROSS JOIN LATERAL (SELECT ${WORKLOAD}
         FROM workloads w WHERE w.artifact_id = parent.id AND ${VISIBLE.workload} ORDER BY w.id DESC LIMIT $4) page`,
      [...viewer, keys, first],
    );
    return grouped(rows, keys, "parent");
  }

  async containersOf(keys) {
    const rows = await this.read(
      "containers",
      `SELECT ${CONTAINER} FROM containers c WHERE c.artifact_id = ANY ($1::uuid[]) ORDER BY c.group_position, c.position`,
      [keys],
    );
    return grouped(rows, keys, "parent");
  }

  async variablesOf(keys) {
    const rows = await this.read(
      "variables",
      `SELECT container_id AS parent, name, type, value FROM environment_variables WHERE container_id = ANY ($1::uuid[])
       ORDER BY position`,
      [keys],
    );
    return grouped(rows, keys, "parent");
  }

  async probesOf(keys) {
    const rows = await this.read(
      "probes",
      `SELECT container_id AS parent, kind, path, port, period_seconds AS "periodSeconds" FROM probes
       WHERE container_id = ANY ($1::uuid[])`,
      [keys],
    );
    return grouped(rows, keys, "parent");
  }

  async usersOf(keys) {
    const rows = await this.read(
      "users",
      `SELECT id AS key, external_id AS id, username FROM users WHERE id = ANY ($1::uuid[])`,
      [[...new Set(keys)]],
    );
    return single(rows, keys);
  }

  async repositoriesOf(keys) {
    const rows = await this.read(
      "repositories of artifacts",
      `SELECT id AS key, external_id AS id, name FROM repositories WHERE id = ANY ($1::uuid[])`,
      [[...new Set(keys)]],
    );
    return single(rows, keys);
  }
}

function grouped(rows, keys, column) {
  const found = new Map(keys.map((key) => [key, []]));
  for (const row of rows) found.get(row[column]).push(row);
  return keys.map((key) => found.get(key));
}

function single(rows, keys) {
  const found = new Map(rows.map((row) => [row.key, row]));
  return keys.map((key) => found.get(key));
}

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

// The UUID in an id such as art_01kay2p5x3ezvr3a6jy9fgm7bq.
export function uuid(id) {
  let value = 0n;
  for (const character of id.slice(id.indexOf("_") + 1)) value = (value << 5n) | BigInt(ALPHABET.indexOf(character));
  const digits = value.toString(16).padStart(32, "0");
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`;
}
