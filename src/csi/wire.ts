import { loadPackageDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import type { ProtoGrpcType } from './generated/csi.ts';
import { descriptor } from './generated/descriptor.ts';

/**
 * How messages look here. The flags of scripts/generate-csi-types.mjs say the same, or the types would lie:
 * an absent message is undefined, an absent list empty, int64 is text and an enum its name.
 */
const options = { longs: String, enums: String, defaults: false, oneofs: true, arrays: true, objects: true };

/** The services and clients of CSI. */
// proto-loader knows no types; the generated ones are made from the same file
export const csi = (loadPackageDefinition(fromJSON(descriptor, options)) as unknown as ProtoGrpcType).csi.v1;

/** Limits and time-outs of both ends. No keepalive: its pings would kill calls that a draining server still answers. */
export const channelOptions = {
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
  'grpc.max_send_message_length': 16 * 1024 * 1024,
} as const;

/** Metadata key by which our own client hands DeleteVolume the pool's uuid; CSI has no field for it. */
export const poolUuidMetadata = 'loam-pool-uuid';
