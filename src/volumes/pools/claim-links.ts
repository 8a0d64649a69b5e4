import { basename } from 'node:path';
import type { Directory } from '../../host/directory.ts';
import { readLinkIfPresent, removeFile, removeIfEmpty, replaceLink } from '../../host/entries.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { ClaimRef } from '../../model/volume.ts';
import type { VolumeRecord } from '../records/record.ts';

const label = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const namespacePattern = new RegExp(`^${label}$`);
const claimPattern = new RegExp(`^${label}(?:\\.${label})*$`);

/**
 * `by-claim/<namespace>/<claim>`: links for people who look for a claim's data. Nothing of ours ever follows them, so
 * they are best effort: a failure is logged and the volume is served without.
 */
export class ClaimLinks {
  readonly #root: Directory;
  readonly #log: Log;

  constructor(root: Directory, log: Log) {
    this.#root = root;
    this.#log = log;
  }

  /** Points the claim's name at this volume, away from an older one of the same name. */
  async add(record: VolumeRecord): Promise<void> {
    await this.#quietly(record, async (claim) => {
      const namespace = await this.#root.ensureChild(claim.namespace, 0o700);
      try {
        await replaceLink(namespace, claim.name, targetOf(record));
      } finally {
        await namespace.close();
      }
    });
  }

  /** Takes the link away if it still leads to this volume, and the namespace's folder with its last link. */
  async remove(record: VolumeRecord): Promise<void> {
    await this.#quietly(record, async (claim) => {
      if (!(await this.#root.exists(claim.namespace))) return;
      const namespace = await this.#root.openChild(claim.namespace);
      try {
        const target = await readLinkIfPresent(namespace, claim.name);
        // none where the disk was too full for one: then the folder may be all that there is
        if (target === targetOf(record)) await removeFile(namespace, claim.name);
        else if (target !== undefined) return;
      } finally {
        await namespace.close();
      }
      await removeIfEmpty(this.#root, claim.namespace);
    });
  }

  /** After a crash: links of volumes that are gone go too, missing ones come back. */
  async reconcile(records: ReadonlyMap<string, VolumeRecord>): Promise<void> {
    try {
      const present = new Set<string>();
      for (const name of await this.#root.names()) await this.#sweep(name, records, present);
      const missing = [...records.values()]
        .filter(({ claim }) => claim !== undefined && !present.has(`${claim.namespace}/${claim.name}`))
        .sort((left, right) => left.createdAtMs - right.createdAtMs);
      for (const record of missing) await this.add(record);
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'links of claims not put in order');
    }
  }

  async #sweep(
    namespaceName: string,
    records: ReadonlyMap<string, VolumeRecord>,
    present: Set<string>,
  ): Promise<void> {
    const namespace = await this.#root.openChild(namespaceName);
    try {
      for (const name of await namespace.names()) {
        const target = await readLinkIfPresent(namespace, name);
        if (target === undefined) continue; // no link of ours
        const record = records.get(basename(target));
        const isGood =
          record?.claim?.name === name &&
          record.claim.namespace === namespaceName &&
          target === targetOf(record);
        if (isGood) present.add(`${namespaceName}/${name}`);
        else await removeFile(namespace, name);
      }
    } finally {
      await namespace.close();
    }
    await removeIfEmpty(this.#root, namespaceName);
  }

  async #quietly(record: VolumeRecord, act: (claim: ClaimRef) => Promise<void>): Promise<void> {
    const { claim } = record;
    if (claim === undefined || !isLinkable(claim)) return;
    try {
      await act(claim);
    } catch (error) {
      this.#log.warn({ volumeId: record.spec.id, error: messageOf(error) }, 'link of the claim not kept up');
    }
  }
}

/** Only what Kubernetes itself would take as names: they become a path. */
export function isLinkable(claim: { readonly namespace: string; readonly name: string }): boolean {
  return namespacePattern.test(claim.namespace) && claim.name.length <= 253 && claimPattern.test(claim.name);
}

function targetOf(record: VolumeRecord): string {
  return `../../volumes/${record.spec.id}`;
}
