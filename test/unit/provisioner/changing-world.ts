import type { ClaimCondition, PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import type { ProvisionerSettings } from '../../../src/provisioner/provisioner-settings.ts';
import { World } from './world.ts';

/** The PV's annotation for kubelet: the size before a growth that it has to finish. */
export const resizeNote = 'volume.alpha.kubernetes.io/pre-resize-capacity';

/** A world with the loops that change volumes, where claims say what they have, as kube-controller-manager writes it. */
export class ChangingWorld extends World {
  override start(
    changes: Partial<ProvisionerSettings> = {},
    wrapped: Parameters<World['start']>[1] = {},
  ): ReturnType<World['start']> {
    return super.start({ expansion: true, modification: true, ...changes }, wrapped);
  }

  /** Starts a provisioner, and has it make the claim's volume. */
  async startBound(): Promise<void> {
    await this.start();
    await this.bound();
  }

  override bind(): void {
    super.bind();
    for (const claim of this.api.all('PersistentVolumeClaim')) {
      const { volumeName = '' } = claim.spec;
      const volume = this.api.peek('PersistentVolume', volumeName);
      if (volume === undefined || claim.status?.capacity !== undefined) continue;
      this.edit((bound) => {
        const attributes = volume.spec.volumeAttributesClassName;
        bound.status = {
          phase: 'Bound',
          ...(volume.spec.capacity === undefined ? {} : { capacity: volume.spec.capacity }),
          ...(attributes === undefined ? {} : { currentVolumeAttributesClassName: attributes }),
        };
      });
    }
  }

  /** Somebody else writes the claim. */
  edit(change: (claim: PersistentVolumeClaim) => void): void {
    this.api.edit('PersistentVolumeClaim', 'shop/data', change);
  }

  editVolume(change: (volume: PersistentVolume) => void): void {
    this.api.edit('PersistentVolume', 'pvc-uid-1', change);
  }

  /** The user asks for another size. */
  ask(storage: string): void {
    this.edit((claim) => void (claim.spec.resources = { requests: { storage } }));
  }

  /** The user names another VolumeAttributesClass. */
  name(className: string | undefined): void {
    this.edit((claim) => {
      if (className === undefined) delete claim.spec.volumeAttributesClassName;
      else claim.spec.volumeAttributesClassName = className;
    });
  }

  attributesClass(name: string, parameters: Record<string, string>, driverName = 'loam.dev'): void {
    this.api.put('VolumeAttributesClass', { metadata: { name }, driverName, parameters });
  }

  status(): NonNullable<PersistentVolumeClaim['status']> {
    return this.api.peek('PersistentVolumeClaim', 'shop/data')?.status ?? {};
  }

  conditions(): string[] {
    return (this.status().conditions ?? []).map(({ type }: ClaimCondition) => type);
  }

  annotations(): Record<string, string> {
    return this.api.peek('PersistentVolumeClaim', 'shop/data')?.metadata.annotations ?? {};
  }

  /** What the PV, the claim and the disk say that the volume has. */
  sizes(): readonly (string | undefined)[] {
    return [
      this.volume()?.spec.capacity?.['storage'],
      this.status().capacity?.['storage'],
      this.driver.volumes.get('pvc-uid-1')?.volume.capacityBytes.toString(),
    ];
  }

  /** The sizes that the driver was asked to grow to, in bytes. */
  sizesAsked(): string[] {
    return this.driver.expands.map(({ capacityRange }) => String(capacityRange.requiredBytes));
  }

  /** Reasons and texts of what was said since the claim got its volume. */
  said(): string[] {
    return this.events().filter((text) => !text.includes('rovision'));
  }
}
