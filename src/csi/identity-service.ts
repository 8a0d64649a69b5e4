import type { ControllerDriver } from '../model/csi-driver.ts';
import type { IdentityHandlers } from './generated/csi/v1/Identity.ts';
import type { Served } from './unary.ts';

export interface DriverIdentity {
  /** of the driver, as in the CSIDriver object */
  readonly name: string;
  readonly vendorVersion: string;
}

/** CSI Identity: who we are, what is behind the socket, and whether it can serve. */
export function identityHandlers(
  identity: DriverIdentity,
  controller: ControllerDriver | undefined,
): Served<IdentityHandlers> {
  return {
    GetPluginInfo: async () => ({ name: identity.name, vendorVersion: identity.vendorVersion }),

    GetPluginCapabilities: async (_request, call) => {
      const canDo = await controller?.getControllerCapabilities(call);
      return {
        capabilities: [
          ...(canDo === undefined ? [] : [{ service: { type: 'CONTROLLER_SERVICE' as const } }]),
          { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' as const } },
          ...(canDo?.has('EXPAND_VOLUME') === true ? [{ volumeExpansion: { type: 'ONLINE' as const } }] : []),
        ],
      };
    },

    // Not ready is an answer, not an error: a node that recovers its pools still has to serve unmounts.
    Probe: async () => ({ ready: { value: controller?.isReady() ?? true } }),
  };
}
